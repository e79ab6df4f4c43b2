"""Freed memory stays in the process, so that a step does not pay for the same pages again."""

import subprocess
import sys

import pytest

NUM_ROUNDS = 50
NUM_BLOCKS = 8
BLOCK_BYTES = 4 * 1024 * 1024

PROGRAM = f"""
import ctypes, resource, sys
import torch
from training.memory_reuse import keep_freed_memory
assert keep_freed_memory()
def step():
    blocks = [torch.zeros({BLOCK_BYTES} // 4) for _ in range({NUM_BLOCKS})]
    blocks.clear()
    if sys.argv[1] == "give back":
        ctypes.CDLL(None).malloc_trim(0)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({NUM_ROUNDS}):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="runs on Linux only")
def test_memory_that_a_step_freed_serves_the_next_one() -> None:
    pages_per_round = NUM_BLOCKS * BLOCK_BYTES // 4096
    assert page_faults("keep") < NUM_ROUNDS * pages_per_round / 10
    # The measurement can see memory that is given back and taken again.
    assert page_faults("give back") > NUM_ROUNDS * pages_per_round / 2
