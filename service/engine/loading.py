"""From a folder and some settings to an engine that has computed its first tokens."""

import gc
import importlib.util
import logging
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch

from model.config import ConfigError
from model.transformer import Transformer
from model.weights import WeightsError, load_transformer
from service.engine.cuda.kernels import Kernels
from service.engine.cuda.recorded_step import cuda_graph_recorder
from service.engine.device import DeviceError, resolve_device, resolve_dtype
from service.engine.eager_executor import DEFAULT_BLOCK_TOKENS, EagerExecutor
from service.engine.engine import MAX_STEP_TOKENS, Engine
from service.engine.executor import Executor, NotDeterministicError
from service.engine.graph_executor import GraphExecutor
from service.engine.guarded_compute import is_out_of_memory
from service.engine.messages import Load, Loaded, Submit

__all__ = ["LoadError", "build_engine", "graphs_or_eager", "named_graphs", "resident_bytes"]

EXECUTORS = ("auto", "eager", "cuda-graphs")
WARM_UP_TOKENS = 32
# A tile of keys and values of wider heads does not fit the memory that a program has.
MOST_HEAD_WIDTH = 128
# Of a failure's text in a line of the log.
MOST_CHARACTERS = 400

_logger = logging.getLogger(__name__)


class LoadError(Exception):
    """A model cannot be served, or not in the way that was asked for."""


def build_engine(load: Load) -> tuple[Engine, Loaded]:
    """Load the model and let it compute some tokens.

    Raises:
        LoadError: The folder or a setting cannot be served; the text is for the operator.
    """
    try:
        return _build_engine(load)
    except (ConfigError, WeightsError, DeviceError, NotDeterministicError, OSError) as error:
        raise LoadError(str(error)) from error
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise LoadError(f"the model and its cache do not fit in memory: {error}") from error
        raise


def _build_engine(load: Load) -> tuple[Engine, Loaded]:
    began = time.perf_counter()
    if load.executor not in EXECUTORS:
        raise LoadError(f"executor must be one of {', '.join(EXECUTORS)}, got {load.executor}")
    if not 1 <= load.max_running <= MAX_STEP_TOKENS:
        raise LoadError(
            f"max_running must be from 1 to {MAX_STEP_TOKENS}, the tokens of one step; "
            f"got {load.max_running}"
        )
    torch.set_num_threads(load.num_threads)
    directory = Path(load.directory)
    device = resolve_device(load.device)
    model = load_transformer(
        directory, device=device, dtype=resolve_dtype(load.dtype, device, directory)
    )
    context_tokens = model.config.max_position_embeddings
    if load.max_context_tokens is not None:
        context_tokens = min(context_tokens, load.max_context_tokens)
    executor = _executor(load, model, context_tokens)
    _warm_up(executor, context_tokens)
    return Engine(executor, max_running=load.max_running), Loaded(
        context_tokens=context_tokens,
        num_parameters=model.config.num_parameters,
        device=str(device),
        dtype=str(model.output_weight.dtype).removeprefix("torch."),
        kv_cache_bytes=executor.kv_cache_bytes,
        load_seconds=time.perf_counter() - began,
        kv_block_tokens=executor.block_tokens,
        num_blocks=executor.num_blocks,
        executor=executor.name,
        deterministic=executor.is_deterministic,
        resident_bytes=resident_bytes(),
    )


def _executor(load: Load, model: Transformer, context_tokens: int) -> Executor:
    num_blocks = _num_blocks(load, context_tokens)

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


def _warm_up(executor: Executor, context_tokens: int) -> None:
    """Let an engine of its own pay for what only first steps cost."""
    engine = Engine(executor, max_running=1)
    prompt_ids = [0] * max(1, min(WARM_UP_TOKENS, context_tokens - 2))
    engine.submit(Submit(request_id=0, prompt_ids=prompt_ids, max_tokens=2, temperature=0.0))
    while engine.has_work:
        engine.step()


def resident_bytes() -> int:
    """Memory of this process that is not swapped out."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # Elsewhere the largest it ever was, in bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
