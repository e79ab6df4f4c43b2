"""What several executors of a process share, and in which order one is taken apart."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

from service.engine.cpu.cpu_executor import CpuExecutor
from tests.service.packed_models import (
    chunk,
    cpu_executor,
    network_shape,
    new_network,
    rows,
    text,
)

NUM_BLOCKS = 60


def new_executor(seed: int) -> CpuExecutor:
    model = new_network(network_shape(num_layers=4), seed)
    return cpu_executor(model, num_blocks=NUM_BLOCKS, num_threads=2)


def test_a_network_outlives_the_executor_that_computes_it() -> None:
    """Even where both go at once, found in a circle by the search for garbage."""
    executor = new_executor(1)
    ended: list[str] = []
    weakref.finalize(executor.network, ended.append, "network")
    weakref.finalize(executor, ended.append, "executor")
    circle: list[object] = [executor.network, executor]
    circle.append(circle)
    del executor, circle
    gc.collect()
    assert ended == ["executor", "network"]


def test_two_executors_that_share_their_threads_compute_at_once() -> None:
    chunks = [chunk(text(3, 40), 0, 0), chunk(text(5, 9), 0, 1)]

    def logits(executor: CpuExecutor) -> list[bytes]:
        step = executor.compute(chunks)
        return [rows(step, place).numpy().tobytes() for place in range(2)]

    def logits_often(executor: CpuExecutor) -> list[list[bytes]]:
        return [logits(executor) for _ in range(100)]

    executors = [new_executor(seed) for seed in (1, 2)]
    alone = [logits(executor) for executor in executors]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(2) as threads:
        both = threads.map(logits_often, executors)
        for expected, made in zip(alone, both, strict=True):
            assert all(each == expected for each in made)
