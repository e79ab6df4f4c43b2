"""Runs one level: its warm-up, then the measured requests, then reads what came."""

import asyncio
import random
import resource
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

from nextword.bench.arrivals import arrival_times
from nextword.bench.closed_loop import run_closed_loop
from nextword.bench.measurement import Measurement, Sender
from nextword.bench.misses import Misses
from nextword.bench.open_loop import MAX_RUNNING, TargetPool, run_open_loop
from nextword.bench.plan import Level, Plan, asks
from nextword.bench.targets import new_target

__all__ = ["measure_level"]

LOOK_SECONDS = 0.1
# Beside the connections: files, the event loop's own, libraries.
_OTHER_FILES = 256


async def measure_level(
    plan: Plan,
    level: Level,
    *,
    vocabulary_size: int | None,
    on_start: Callable[[Measurement], None],
    stop: asyncio.Event,
    gives_up: bool = False,
) -> Measurement:
    """Run the warm-up and then the measured requests of one level.

    Args:
        plan: The whole load test.
        level: The level.
        vocabulary_size: Prompts are ids below it; None makes them words.
        on_start: Gets the measurement, which grows from then on.
        stop: Set from outside to end early; what has been measured stays.
        gives_up: Whether to end early when the objective can no longer be kept.
    """
    measured = Measurement(level)
    sender = Sender(plan, measured)
    _allow_connections()
    on_start(measured)
    async with AsyncExitStack() as stack:
        run = _Run(plan, level, measured, sender, vocabulary_size)
        stack.push_async_callback(run.close)
        is_warm = await _unless_stopped(run.warm_up(), stop)
        measured.is_warming_up = False
        measured.started_at = time.perf_counter()
        if level.seconds is not None:
            measured.window_ends_at = measured.started_at + level.seconds
        cpu_before = time.process_time()
        if is_warm:
            watch = _watch(plan, measured) if gives_up else None
            measured.is_complete = await _unless_stopped(run.measure(), stop, watch=watch)
        measured.ended_at = time.perf_counter()
        measured.cpu_seconds = time.process_time() - cpu_before
    sender.read_all()
    return measured


class _Run:
    """The loop of a level, and its clients."""

    def __init__(
        self,
        plan: Plan,
        level: Level,
        measured: Measurement,
        sender: Sender,
        vocabulary_size: int | None,
    ) -> None:
        self._plan = plan
        self._level = level
        self._measured = measured
        self._sender = sender
        self._vocabulary_size = vocabulary_size
        self._targets = [new_target(level.address, plan) for _ in range(level.concurrency or 0)]
        self._pool = TargetPool(lambda: new_target(level.address, plan))

    async def warm_up(self) -> None:
        """Send the requests that count nowhere."""
        if self._level.num_warmup_requests:
            await self._run("warmup", num_requests=self._level.num_warmup_requests, seconds=None)

    async def measure(self) -> None:
        """Send the requests that count."""
        level = self._level
        await self._run("measure", num_requests=level.num_requests, seconds=level.seconds)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()
        for target in self._targets:
            await target.close()

    async def _run(self, phase: str, *, num_requests: int | None, seconds: float | None) -> None:
        plan, level, measured = self._plan, self._level, self._measured
        source = asks(plan, level, phase=phase, vocabulary_size=self._vocabulary_size)
        records = measured.records if phase == "measure" else measured.warmup_records
        if level.rate is None:
            await run_closed_loop(
                self._targets,
                sender=self._sender,
                asks=source,
                records=records,
                num_requests=num_requests,
                ends_at=measured.window_ends_at,
            )
            return
        # Repeats have the same arrivals, so that only the server differs between them.
        rng = random.Random(f"{plan.seed} {level.rate} {phase}")
        arrivals = arrival_times(
            plan.arrivals,
            rate=level.rate,
            seconds=seconds,
            num_requests=num_requests,
            rng=rng,
        )
        if phase == "measure":
            measured.num_offered = len(arrivals)
        await run_open_loop(
            self._pool,
            sender=self._sender,
            asks=source,
            records=records,
            arrivals=arrivals,
            started_at=time.perf_counter() if phase == "warmup" else measured.started_at,
        )


async def _watch(plan: Plan, measured: Measurement) -> None:
    """Come back when so many requests have missed the objective that the level cannot keep it."""
    objective = plan.objective
    assert objective is not None
    misses = Misses(objective, measured.records)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        num_missed = misses.count(time.perf_counter())
        if num_missed > (1 - objective.share) * measured.num_offered:
            measured.is_given_up = True
            return


async def _unless_stopped(
    work: Coroutine[None, None, None],
    stop: asyncio.Event,
    *,
    watch: Coroutine[None, None, None] | None = None,
) -> bool:
    """Whether the work came to its end before it was to stop, or what watches it came back."""

    async def wait_for_stop() -> None:
        await stop.wait()

    working = asyncio.create_task(work)
    others = [asyncio.create_task(other) for other in (wait_for_stop(), watch) if other is not None]
    try:
        await asyncio.wait((working, *others), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return not stop.is_set()
    finally:
        for task in (working, *others):
            task.cancel()
        await asyncio.wait((working, *others))


def _allow_connections() -> None:
    """Let this process open as many connections as a level may have, where the system lets it."""
    low, high = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_RUNNING + _OTHER_FILES
    allowed = wanted if high == resource.RLIM_INFINITY else min(wanted, high)
    if low != resource.RLIM_INFINITY and low < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, high))
