"""How much processor time others used while something was measured, from Linux's /proc."""

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ForeignLoad", "process_seconds"]

_TICKS = os.sysconf("SC_CLK_TCK")


def process_seconds(process_id: int) -> float:
    """Processor seconds of a process and of those that it started and that still run."""
    total = 0.0
    waiting = [process_id]
    while waiting:
        number = waiting.pop()
        try:
            stat = Path(f"/proc/{number}/stat").read_text()
            tasks = list(Path(f"/proc/{number}/task").iterdir())
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15]) / _TICKS
        for task in tasks:
            try:
                waiting += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue
    return total


def _busy_seconds() -> float:
    first, *_ = Path("/proc/stat").read_text().splitlines()
    fields = [int(field) for field in first.split()[1:9]]
    # The fourth and fifth are idle time and waiting for a disk.
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


@dataclass(slots=True)
class ForeignLoad:
    """Measures from when it is made.

    Attributes:
        process_ids: Whose work, and whose children's, is not foreign.
    """

    process_ids: tuple[int, ...]
    _began: float = 0.0
    _before: float = 0.0

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._before = self._foreign()

    def cores(self) -> float:
        """Processors that others kept busy on average since then."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        return max(0.0, self._foreign() - self._before) / seconds

    def _foreign(self) -> float:
        ours = (
            resource.getrusage(resource.RUSAGE_SELF),
            resource.getrusage(resource.RUSAGE_CHILDREN),
        )
        own = sum(usage.ru_utime + usage.ru_stime for usage in ours)
        return _busy_seconds() - own - _sum(self.process_ids)


def _sum(process_ids: Iterable[int]) -> float:
    return sum(process_seconds(process_id) for process_id in process_ids)
