"""From a folder and some settings to an engine that has computed its first tokens."""

import contextlib
import os
import resource
import time
from pathlib import Path

import torch

from model.config import ConfigError
from model.weights import WeightsError
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.kernel_library import LibraryError
from service.engine.cpu.threads import thread_pool
from service.engine.device import DeviceError
from service.engine.engine import MAX_STEP_TOKENS, Engine
from service.engine.executor import Executor, NotDeterministicError
from service.engine.executor_choice import EXECUTORS, LoadError, build_executor
from service.engine.guarded_compute import is_out_of_memory
from service.engine.messages import Load, Loaded, Submit

__all__ = ["LoadError", "build_engine", "resident_bytes", "start_threads"]

WARM_UP_TOKENS = 32


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


def start_threads(load: Load) -> None:
    """Start the threads that a model will be computed by, with the priority of the caller.

    A load at low priority would give them its own, for good.
    """
    if load.executor not in ("auto", CpuExecutor.name) or load.device == "cuda":
        return
    # Loading says why there are none, and takes another executor.
    with contextlib.suppress(LibraryError):
        thread_pool(load.num_threads)


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
    built = build_executor(load)
    executor = built.executor
    if isinstance(executor, CpuExecutor):
        # What is left for torch is small, and its threads would spin beside those that compute.
        torch.set_num_threads(1)
    _warm_up(executor, built.context_tokens)
    return Engine(executor, max_running=load.max_running), Loaded(
        context_tokens=built.context_tokens,
        num_parameters=built.config.num_parameters,
        device=built.device,
        dtype=built.dtype,
        kv_cache_bytes=executor.kv_cache_bytes,
        load_seconds=time.perf_counter() - began,
        kv_block_tokens=executor.block_tokens,
        num_blocks=executor.num_blocks,
        executor=executor.name,
        deterministic=executor.is_deterministic,
        resident_bytes=resident_bytes(),
    )


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
