"""The real engine process around an engine with a fault, for the tests that lose it.

Started as `python -m tests.service.faulty_engine_process FAULT --socket-fd N`.
"""

import sys
from collections.abc import Sequence

from service import engine_process
from service.engine.engine import Engine
from service.engine.executor import ChunkInput
from service.engine.messages import Load, Loaded
from tests.service.remembering_executor import RememberingExecutor

NUM_BLOCKS = 64


class StalledEngine(Engine):
    """Plans nothing, although there is work."""

    def __init__(self, executor: RememberingExecutor) -> None:
        super().__init__(executor, max_running=4)
        self._tables.take = lambda sequence: False


class LeakyEngine(Engine):
    """Loses the blocks of whoever is cancelled."""

    def __init__(self, executor: RememberingExecutor) -> None:
        super().__init__(executor, max_running=4)
        self._tables.give_back = lambda sequence, *, is_poisoned=False: None


def fail(chunks: Sequence[ChunkInput]) -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def build_engine(load: Load) -> tuple[Engine, Loaded]:
    """In place of the one that loads a model; its directory names the fault."""
    executor = RememberingExecutor(num_blocks=NUM_BLOCKS)
    match load.directory:
        case "none":
            engine = Engine(executor, max_running=4)
        case "computing":
            executor.before_compute = fail
            engine = Engine(executor, max_running=4)
        case "stalled":
            engine = StalledEngine(executor)
        case "leaky":
            engine = LeakyEngine(executor)
        case unknown:
            raise AssertionError(unknown)
    return engine, Loaded(
        context_tokens=NUM_BLOCKS * executor.block_tokens,
        num_parameters=0,
        device="cpu",
        dtype="float32",
        kv_cache_bytes=0,
        load_seconds=0.0,
        kv_block_tokens=executor.block_tokens,
        num_blocks=NUM_BLOCKS,
        executor=executor.name,
        deterministic=True,
        resident_bytes=0,
    )


if __name__ == "__main__":
    engine_process.build_engine = build_engine
    engine_process.STALLED_SECONDS = 0.2
    engine_process.MAX_STALLED_SECONDS = 2.0
    sys.exit(engine_process.main())
