"""Whether another engine fits beside what is there."""

import os
from pathlib import Path

import pytest

from service.memory_use import MemoryBudget, MemoryRefusedError, resident_bytes

MIB = 1 << 20


def budget(limit_bytes: int, *, available_bytes: int | None = None) -> MemoryBudget:
    return MemoryBudget(limit_bytes, available=lambda: available_bytes)


def test_an_engine_counts_for_its_plan_until_it_takes_more() -> None:
    """A cache that is still empty will be full one day."""
    own = resident_bytes(os.getpid()) or 0
    memory = budget(own + 1000 * MIB)
    claim = memory.claim(600 * MIB, lambda: None)
    with pytest.raises(MemoryRefusedError, match="needs about 600 MiB"):
        memory.claim(600 * MIB, lambda: None)
    memory.release(claim)
    memory.claim(600 * MIB, lambda: None)


def test_what_a_process_takes_beyond_its_plan_counts() -> None:
    own = resident_bytes(os.getpid())
    if own is None:
        pytest.skip("needs /proc, which macOS lacks")
    memory = budget(2 * own)
    # This very process stands for an engine that has grown.
    claim = memory.claim(1, os.getpid)
    assert claim.taken_bytes() >= own // 2
    with pytest.raises(MemoryRefusedError):
        memory.check(own // 2)


def test_what_the_machine_has_left_counts_too() -> None:
    memory = budget(1 << 50, available_bytes=100 * MIB)
    memory.check(100 * MIB)
    with pytest.raises(MemoryRefusedError, match="the machine has 100 MiB left"):
        memory.check(101 * MIB)


def test_pages_of_files_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "status").write_text(
        "VmRSS: 900 kB\nRssAnon: 100 kB\nRssFile: 800 kB\nRssShmem: 20 kB\nVmSwap: 3 kB\n"
    )
    assert resident_bytes(7, tmp_path) == 123 * 1024
    assert resident_bytes(8, tmp_path) is None
