"""The live line of a level: bar, requests, messages/s of the last seconds, failures, time left."""

import asyncio
import sys
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nextword.bench.measurement import Measurement
from nextword.bench.plan import Level, Plan
from nextword.bench.results import LevelResult

__all__ = ["LevelProgress", "print_sweep_step"]

_PAUSE_SECONDS = 0.25
_RATE_SECONDS = 3.0


class LevelProgress:
    """Draws one level on the standard error; a line at its start where that is no terminal.

    Args:
        plan: The whole load test.
        level: What is measured.
    """

    def __init__(self, plan: Plan, level: Level) -> None:
        self._level = level
        self._name = f"{level.address.protocol}, {level.label}"
        if plan.num_repeats > 1:
            self._name += f", {level.repeat} of {plan.num_repeats}"
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._watching: asyncio.Task[None] | None = None

    def follow(self, measured: Measurement) -> None:
        """Draw this measurement as it grows."""
        if not self._progress.console.is_terminal:
            print(f"{self._name}: {self._level.address.url} ...", file=sys.stderr, flush=True)
            return
        self._progress.start()
        self._watching = asyncio.create_task(self._watch(measured))

    async def _watch(self, measured: Measurement) -> None:
        level = self._level
        total = level.num_requests if level.seconds is None else level.seconds
        task = self._progress.add_task(f"{self._name}, warming up", total=total, figures="")
        recent: deque[tuple[float, int]] = deque()
        while True:
            if not measured.is_warming_up:
                self._progress.update(
                    task,
                    description=self._name,
                    completed=self._done(measured),
                    figures=_figures(measured, recent),
                )
            self._progress.refresh()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _done(self, measured: Measurement) -> float:
        if self._level.seconds is None:
            return measured.num_ended - len(measured.warmup_records)
        return min(time.perf_counter() - measured.started_at, self._level.seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._progress.stop()


def _figures(measured: Measurement, recent: deque[tuple[float, int]]) -> str:
    """Requests so far, and the messages of the last seconds: about as many as tokens."""
    running = measured.running.values()
    num_pieces = measured.num_pieces + sum(len(record.pieces) for record in running)
    now = time.perf_counter()
    recent.append((now, num_pieces))
    while now - recent[0][0] > _RATE_SECONDS:
        recent.popleft()
    seconds = now - recent[0][0]
    rate = (num_pieces - recent[0][1]) / seconds if seconds > 0 else 0.0
    failed = f", {measured.num_failed} failed" if measured.num_failed else ""
    return f"{measured.num_ended} requests{failed}, {len(running)} running, {rate:.0f} messages/s"


def print_sweep_step(result: LevelResult) -> None:
    """A line for each rate that was tried."""
    goodput = result.goodput
    assert goodput is not None
    level = "1 client alone" if result.rate is None else f"{result.rate:g} requests/s"
    verdict = "kept" if goodput.is_held else "missed"
    early = ", ended early" if result.is_given_up else ""
    print(
        f"  {level}: {verdict}, {goodput.share:.1%} of requests in bounds{early}",
        file=sys.stderr,
        flush=True,
    )
