"""Runs one level: its warm-up, then the measured requests, then reads what came."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

from nextword.bench.closed_loop import run_closed_loop
from nextword.bench.measurement import Measurement, Sender
from nextword.bench.plan import Level, Plan, asks
from nextword.bench.targets import new_target

__all__ = ["measure_level"]


async def measure_level(
    plan: Plan,
    level: Level,
    *,
    vocabulary_size: int | None,
    on_start: Callable[[Measurement], None],
    stop: asyncio.Event,
) -> Measurement:
    """Run the warm-up and then the measured requests of one level.

    Args:
        plan: The whole load test.
        level: The level.
        vocabulary_size: Prompts are ids below it; None makes them words.
        on_start: Gets the measurement, which grows from then on.
        stop: Set from outside to end early; what has been measured stays.
    """
    measured = Measurement(level)
    sender = Sender(plan, measured)
    on_start(measured)
    async with AsyncExitStack() as stack:
        targets = [new_target(level.address, plan) for _ in range(level.concurrency)]
        for target in targets:
            stack.push_async_callback(target.close)

        def run(phase: str) -> Coroutine[None, None, None]:
            is_warmup = phase == "warmup"
            return run_closed_loop(
                targets,
                sender=sender,
                asks=asks(plan, level, phase=phase, vocabulary_size=vocabulary_size),
                records=measured.warmup_records if is_warmup else measured.records,
                num_requests=level.num_warmup_requests if is_warmup else plan.num_requests,
                ends_at=measured.window_ends_at,
            )

        is_warm = await _unless_stopped(run("warmup"), stop)
        measured.is_warming_up = False
        measured.started_at = time.perf_counter()
        if plan.seconds is not None:
            measured.window_ends_at = measured.started_at + plan.seconds
        cpu_before = time.process_time()
        if is_warm:
            measured.is_complete = await _unless_stopped(run("measure"), stop)
        measured.ended_at = time.perf_counter()
        measured.cpu_seconds = time.process_time() - cpu_before
    sender.read_all()
    return measured


async def _unless_stopped(work: Coroutine[None, None, None], stop: asyncio.Event) -> bool:
    """Whether the work came to its end before it was to stop."""
    stopping = asyncio.create_task(stop.wait())
    working = asyncio.create_task(work)
    try:
        await asyncio.wait((stopping, working), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return not stop.is_set()
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait((stopping, working))
