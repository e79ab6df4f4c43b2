"""Which executor computes a model, by the settings, this machine and the network's shape.

On a GPU the recorded kernels, on a CPU the compiled ones; the eager one where these cannot be had.
"""

import gc
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from model.config import ModelConfig
from model.transformer import Transformer
from model.weights import StoredWeights, load_transformer, open_weights
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.kernel_library import KernelError, LibraryError, load_library
from service.engine.cpu.loading import DTYPE_NAMES, load_cpu_executor
from service.engine.cuda.kernels import Kernels
from service.engine.cuda.recorded_step import cuda_graph_recorder
from service.engine.device import resolve_device, resolve_dtype
from service.engine.eager_executor import DEFAULT_BLOCK_TOKENS, EagerExecutor
from service.engine.executor import Executor, NotDeterministicError
from service.engine.graph_executor import GraphExecutor
from service.engine.guarded_compute import is_out_of_memory
from service.engine.messages import Load

__all__ = [
    "EXECUTORS",
    "BuiltExecutor",
    "LoadError",
    "build_executor",
    "graphs_or_eager",
    "named_graphs",
]

EXECUTORS = ("auto", "eager", "cpu-kernels", "cuda-graphs")
# A tile of keys and values of wider heads does not fit the memory that a program has.
MOST_HEAD_WIDTH = 128
# Of a failure's text in a line of the log.
MOST_CHARACTERS = 400

_logger = logging.getLogger(__name__)


class LoadError(Exception):
    """A model cannot be served, or not in the way that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltExecutor:
    """An executor with a model in memory.

    Attributes:
        executor: It.
        config: Of the network.
        context_tokens: Longest sequence.
        device: Where it computes.
        dtype: Number type of the weights.
    """

    executor: Executor
    config: ModelConfig
    context_tokens: int
    device: str
    dtype: str


def build_executor(load: Load) -> BuiltExecutor:
    """Load a model into the executor that the settings name or that is best here.

    Raises:
        LoadError: It cannot be had in that way.
        ConfigError, WeightsError: The folder cannot be served.
        DeviceError: A setting names what is not here.
        NotDeterministicError: Deterministic mode was asked for and cannot be had.
    """
    device = resolve_device(load.device)
    stored = open_weights(Path(load.directory))
    context_tokens = stored.config.max_position_embeddings
    if load.max_context_tokens is not None:
        context_tokens = min(context_tokens, load.max_context_tokens)
    num_blocks = _num_blocks(load, context_tokens)
    executor = _on_a_cpu(load, device, stored, context_tokens, num_blocks)
    if executor is not None:
        dtype = DTYPE_NAMES[executor.network.weight_type]
    else:
        model = load_transformer(
            stored.directory,
            device=device,
            dtype=resolve_dtype(load.dtype, device, stored.directory),
        )
        dtype = str(model.output_weight.dtype).removeprefix("torch.")
        executor = _in_torch(load, model, context_tokens, num_blocks)
    return BuiltExecutor(
        executor=executor,
        config=stored.config,
        context_tokens=context_tokens,
        device=str(device),
        dtype=dtype,
    )


def _on_a_cpu(
    load: Load, device: torch.device, stored: StoredWeights, context_tokens: int, num_blocks: int
) -> CpuExecutor | None:
    """The executor for CPUs, or None where another is to be taken."""
    is_named = load.executor == CpuExecutor.name
    if device.type != "cpu" or load.executor not in ("auto", CpuExecutor.name):
        if is_named:
            raise LoadError(
                f"the executor {CpuExecutor.name} needs a CPU, and the device is {device}"
            )
        return None
    try:
        load_library()
        return load_cpu_executor(
            stored,
            dtype=load.dtype,
            num_threads=load.num_threads,
            context_tokens=context_tokens,
            num_blocks=num_blocks,
        )
    except (LibraryError, KernelError) as error:
        obstacle = f"{CpuExecutor.name} needs {error}"
        if isinstance(error, KernelError):
            obstacle = f"{CpuExecutor.name} cannot compute this network: {error}"
        if is_named or load.dtype == "int8":
            raise LoadError(f"the executor {obstacle}") from error
        _logger.warning("the executor is eager: %s", obstacle)
        return None


def _in_torch(load: Load, model: Transformer, context_tokens: int, num_blocks: int) -> Executor:
    """The executor of a network of torch's."""

    def eager() -> Executor:
        return EagerExecutor(model, num_blocks=num_blocks, deterministic=load.deterministic)

    def graphs() -> Executor:
        return GraphExecutor(
            model,
            num_blocks=num_blocks,
            max_rows=load.max_running,
            context_tokens=context_tokens,
            deterministic=load.deterministic,
            kernels=_triton_kernels(),
            recorder=cuda_graph_recorder(),
        )

    if load.executor == EagerExecutor.name or not (
        model.output_weight.is_cuda or load.executor == GraphExecutor.name
    ):
        return eager()
    obstacle = _obstacle_to_graphs(model)
    if load.executor == GraphExecutor.name:
        return named_graphs(graphs, obstacle=obstacle)
    if load.deterministic:
        obstacle = "no deterministic mode"
    return graphs_or_eager(graphs, eager, obstacle=obstacle)


def named_graphs(graphs: Callable[[], Executor], *, obstacle: str | None) -> Executor:
    """The executor for GPUs, which was asked for by its name.

    Args:
        graphs: Builds it.
        obstacle: What is known beforehand to be missing for it.

    Raises:
        LoadError: It cannot be had; the text says why.
        NotDeterministicError: Deterministic mode was asked for as well.
    """
    if obstacle is not None:
        raise LoadError(f"the executor {GraphExecutor.name} needs {obstacle}")
    try:
        return graphs()
    except NotDeterministicError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise LoadError(
            f"the executor {GraphExecutor.name} cannot be built: {_in_one_line(error)}"
        ) from error


def graphs_or_eager(
    graphs: Callable[[], Executor], eager: Callable[[], Executor], *, obstacle: str | None
) -> Executor:
    """The executor for GPUs if it can be had, else the eager one and a line of the log.

    Args:
        graphs: Builds the one. It may fail in many ways: Triton compiles here and now, for which
            it needs a C compiler and a driver that it knows, and recordings need memory.
        eager: Builds the other, after what was built of the one is gone.
        obstacle: What is known beforehand to be missing.
    """
    if obstacle is None:
        try:
            return graphs()
        except Exception as error:
            failure = _in_one_line(error)
        # Outside the handler: the traceback would keep the cache of the one in memory. So do
        # recordings, whose functions and objects know each other.
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        name = GraphExecutor.name
        _logger.warning("the executor is eager: %s cannot be built: %s", name, failure)
        return eager()
    _logger.info("the executor is eager: %s needs %s", GraphExecutor.name, obstacle)
    return eager()


def _in_one_line(error: Exception) -> str:
    # What a compiler says may be a page.
    return " ".join(f"{type(error).__name__}: {error}".split())[:MOST_CHARACTERS]


def _obstacle_to_graphs(model: Transformer) -> str | None:
    """What the executor for GPUs would need besides what is here."""
    if not model.output_weight.is_cuda:
        return f"a CUDA device, and the device is {model.output_weight.device}"
    if importlib.util.find_spec("triton") is None:
        return "Triton, which comes with PyTorch's CUDA builds for Linux"
    if model.config.head_dim > MOST_HEAD_WIDTH:
        return f"a head_dim of at most {MOST_HEAD_WIDTH}, got {model.config.head_dim}"
    if model.config.attention_bias or model.config.qk_norm:
        return f"attention without biases and norms of its own, got a {model.config.model_type}"
    return None


def _triton_kernels() -> Kernels:
    # Not at the head of the file: Triton is not where there is no GPU.
    from service.engine.cuda import triton_kernels

    return triton_kernels


def _num_blocks(load: Load, context_tokens: int) -> int:
    blocks_per_context = -(-context_tokens // DEFAULT_BLOCK_TOKENS)
    if load.kv_cache_tokens is None:
        return load.max_running * blocks_per_context
    num_blocks = load.kv_cache_tokens // DEFAULT_BLOCK_TOKENS
    if num_blocks < blocks_per_context:
        raise LoadError(
            f"kv_cache_tokens must be at least {blocks_per_context * DEFAULT_BLOCK_TOKENS}, one "
            f"context of {context_tokens} tokens in whole blocks; got {load.kv_cache_tokens}"
        )
    return num_blocks
