"""In which order an executor on a CPU is taken apart."""

import gc
import weakref

from service.engine.cpu.cpu_executor import CpuExecutor
from tests.service.packed_models import cpu_executor, network_shape, new_network

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
