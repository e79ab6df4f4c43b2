"""Turns and blocks without any model: by a state machine, and in single scenes."""

import re
from collections.abc import Sequence as Series
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

import service.engine
from service.engine.block_allocator import BlockAllocator
from service.engine.block_tables import BlockTables
from tests.service.scheduling_machine import SchedulingMachine

MACHINE = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# One failure is enough: it is neither made smaller nor kept.
CONTROL = settings(
    MACHINE,
    max_examples=300,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    print_blob=False,
)

TestSchedulingMachine = SchedulingMachine.TestCase
TestSchedulingMachine.settings = MACHINE


class FreesSharedBlocks(BlockAllocator):
    """Whoever releases a shared block frees it for all."""

    def release(self, block_ids: Series[int]) -> list[int]:
        for block_id in block_ids:
            self._references[block_id] = 1
        return super().release(block_ids)


class FreesTwice(BlockAllocator):
    """One block of a sequence is freed twice."""

    def release(self, block_ids: Series[int]) -> list[int]:
        freed = super().release(block_ids)
        self._empty += freed[:1]
        return freed


class LeaksReferences(BlockAllocator):
    """The last block of a sequence is never released."""

    def release(self, block_ids: Series[int]) -> list[int]:
        return super().release(block_ids[:-1])


class NeverClears(BlockTables):
    """What may hold NaN goes back as it is."""

    def take_uncleared(self) -> list[int]:
        return []


@pytest.mark.parametrize("broken", [FreesSharedBlocks, FreesTwice, LeaksReferences])
def test_the_state_machine_notices_a_broken_allocator(broken: type[BlockAllocator]) -> None:
    """The control of the state machine."""

    class Broken(SchedulingMachine):
        allocator_class = broken

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=CONTROL)


def test_the_state_machine_notices_blocks_that_are_not_cleared() -> None:
    """The control of its NaN (H47)."""

    class Broken(SchedulingMachine):
        tables_class = NeverClears

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=CONTROL)


def test_no_module_of_the_engine_reads_a_clock_that_can_be_set() -> None:
    """H65."""
    folder = Path(service.engine.__file__).parent
    wall_clocks = re.compile(r"time\.time\(|\bdatetime\b|time\.ctime|time\.localtime")
    modules = list(folder.glob("*.py"))
    assert len(modules) > 10
    assert wall_clocks.search("now = time.time()"), "the control"
    assert [path.name for path in modules if wall_clocks.search(path.read_text())] == []
