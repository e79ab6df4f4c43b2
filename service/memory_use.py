"""Whether another engine fits into the memory beside what is there. Torch-free.

Every engine counts for what it was planned to take or for what it takes, whichever is more: a cache
that is still empty will be full one day.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.machine_limits import available_bytes, memory_text

__all__ = ["MemoryBudget", "MemoryClaim", "MemoryRefusedError", "resident_bytes"]


class MemoryRefusedError(Exception):
    """There is no room for an engine; one line for the operator."""


@dataclass(slots=True, eq=False)
class MemoryClaim:
    """The memory of one engine.

    Attributes:
        planned_bytes: What it was planned to take.
        process_id: Says which process takes it, None while there is none.
    """

    planned_bytes: int
    process_id: Callable[[], int | None]

    def taken_bytes(self) -> int:
        """What it counts for now."""
        process_id = self.process_id()
        resident = None if process_id is None else resident_bytes(process_id)
        return max(self.planned_bytes, resident or 0)


class MemoryBudget:
    """The memory of the server and all its engines.

    Args:
        limit_bytes: What they may take in all.
        available: Says how much the machine still has; None where it does not say.
    """

    def __init__(
        self, limit_bytes: int, *, available: Callable[[], int | None] = available_bytes
    ) -> None:
        self._limit_bytes = limit_bytes
        self._available = available
        self._claims: list[MemoryClaim] = []

    def check(self, needed_bytes: int) -> None:
        """See whether an engine fits.

        Raises:
            MemoryRefusedError: It does not.
        """
        taken = (resident_bytes(os.getpid()) or 0) + sum(
            claim.taken_bytes() for claim in self._claims
        )
        if taken + needed_bytes > self._limit_bytes:
            raise MemoryRefusedError(
                f"needs about {memory_text(needed_bytes)} beside {memory_text(taken)} that the "
                f"server has taken or promised; --memory-limit is {memory_text(self._limit_bytes)}"
            )
        available = self._available()
        if available is not None and needed_bytes > available:
            raise MemoryRefusedError(
                f"needs about {memory_text(needed_bytes)}, the machine has "
                f"{memory_text(available)} left"
            )

    def claim(self, needed_bytes: int, process_id: Callable[[], int | None]) -> MemoryClaim:
        """Set memory aside for an engine.

        Raises:
            MemoryRefusedError: There is not so much.
        """
        self.check(needed_bytes)
        claim = MemoryClaim(needed_bytes, process_id)
        self._claims.append(claim)
        return claim

    def release(self, claim: MemoryClaim) -> None:
        """The engine of a claim has ended."""
        self._claims.remove(claim)


def resident_bytes(process_id: int, root: Path = Path("/")) -> int | None:
    """Memory that only this process holds; None where the system does not say, or it is gone.

    Pages of files are left out: the system takes them back when memory is short.
    """
    try:
        lines = (root / f"proc/{process_id}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    kinds = ("RssAnon:", "RssShmem:", "VmSwap:")
    counts = [line.split()[1] for line in lines if line.startswith(kinds)]
    return sum(map(int, counts)) * 1024 if counts else None
