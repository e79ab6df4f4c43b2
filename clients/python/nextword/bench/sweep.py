"""Looks for the highest rate of requests at which a server keeps an objective.

One client alone says whether the objective can be kept at all, and where to begin. Then the rate
is doubled, or halved, until one is kept and one is not, and what lies between is narrowed down.
"""

import math
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from nextword.address import Address
from nextword.bench.plan import MAX_RATE, Level, Plan
from nextword.bench.results import LevelResult

__all__ = ["Limit", "SweepResult", "sweep"]

# The answer is at most this factor below a rate that is not kept.
PRECISION = 1.1
# A level is longer than asked where its rate would bring fewer requests than this, up to so many
# times.
MIN_REQUESTS = 30
MAX_STRETCH = 4.0
FEWEST_REQUESTS = 3
ALONE_SECONDS = 5.0

Limit = Literal["objective", "alone", "client", "stopped"]


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a server holds.

    Attributes:
        url: The server.
        held_rate: Highest rate that was measured and kept; None where none was.
        missed_rate: Lowest rate above it that was not kept; None where none was measured.
        limit: What ended the search: the objective; one request alone that misses it; this
            client, which could not send more or was too busy to tell; or a stop from outside.
    """

    url: str
    held_rate: float | None
    missed_rate: float | None
    limit: Limit

    @property
    def verdict(self) -> str:
        """What it holds, in words that follow the server's name."""
        held, missed = self.held_rate, self.missed_rate
        match self.limit:
            case "alone":
                return "holds no rate: one request alone misses the objective"
            case "objective" if held is None:
                return f"holds less than {missed:g} requests/s"
            case "objective":
                return f"holds {held:g} requests/s (and misses at {missed:g})"
            case "client" if held is None:
                return "could not be measured: this client itself is too slow"
            case "client":
                return f"holds at least {held:g} requests/s: above, this client is too slow to tell"
            case "stopped" if held is None:
                return "was not measured to an end"
            case "stopped":
                return f"holds at least {held:g} requests/s; the search was stopped"


async def sweep(
    plan: Plan,
    address: Address,
    *,
    measure: Callable[[Level], Awaitable[LevelResult | None]],
) -> SweepResult:
    """Search at one server.

    Args:
        plan: Has the objective.
        address: The server.
        measure: Runs a level; None when it was stopped from outside.
    """
    search = _Search(plan, address, measure)
    limit = await search.run()
    return SweepResult(address.url, search.held, search.missed, limit)


class _Search:
    """The rates that are known so far."""

    def __init__(
        self,
        plan: Plan,
        address: Address,
        measure: Callable[[Level], Awaitable[LevelResult | None]],
    ) -> None:
        self._plan = plan
        self._address = address
        self._measure = measure
        self.held: float | None = None
        self.missed: float | None = None
        self._is_missed_here = False

    async def run(self) -> Limit:
        """Search until an end; which one."""
        assert self._plan.seconds is not None
        seconds = min(self._plan.seconds, ALONE_SECONDS)
        level = self._plan.level(self._address, concurrency=1, seconds=seconds)
        alone = await self._measure(level)
        if alone is None:
            return "stopped"
        if alone.goodput is None or not alone.goodput.is_held or not alone.request_seconds.p50:
            return "alone"
        rate = _rounded(1 / alone.request_seconds.p50)
        while (limit := await self._try(rate)) is None:
            if self.held is None:
                rate = _rounded(rate / 2)
                if rate * self._plan.seconds * MAX_STRETCH < FEWEST_REQUESTS:
                    return self._limit()
            elif self.missed is None:
                rate = _rounded(rate * 2)
                if rate > MAX_RATE:
                    return "client"
            elif self.missed / self.held <= PRECISION:
                return self._limit()
            else:
                rate = _rounded(math.sqrt(self.held * self.missed))
                if not self.held < rate < self.missed:
                    return self._limit()
        return limit

    def _limit(self) -> Limit:
        return "client" if self._is_missed_here else "objective"

    async def _try(self, rate: float) -> Limit | None:
        """Measure a rate as often as asked; None to go on."""
        assert self._plan.objective is not None
        is_missed_here = False
        for _ in range(2):
            results = await self._repeats(rate)
            if results is None:
                return "stopped"
            shares = [result.goodput.share for result in results if result.goodput is not None]
            if statistics.median(shares) >= self._plan.objective.share:
                self.held = rate
                return None
            # Times count from when a request was due: a late client makes a rate harder to keep,
            # so one that was missed may have been missed here, and gets another chance.
            is_missed_here = any(
                result.is_client_busy or result.is_client_late or result.is_client_full
                for result in results
            )
            if not is_missed_here:
                break
        self.missed, self._is_missed_here = rate, is_missed_here
        return None

    async def _repeats(self, rate: float) -> list[LevelResult] | None:
        assert self._plan.seconds is not None
        stretched = min(MIN_REQUESTS / rate, self._plan.seconds * MAX_STRETCH)
        seconds = max(self._plan.seconds, stretched)
        results: list[LevelResult] = []
        for repeat in range(1, self._plan.num_repeats + 1):
            level = self._plan.level(self._address, rate=rate, repeat=repeat, seconds=seconds)
            result = await self._measure(level)
            if result is None:
                return None
            results.append(result)
        return results


def _rounded(rate: float) -> float:
    """Three digits are more than such a measurement knows."""
    return float(f"{rate:.3g}")
