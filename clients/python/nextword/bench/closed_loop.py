"""The closed loop: so many clients, each sending its next request when its last one has ended."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from nextword.bench.plan import Ask, Level, Plan, asks
from nextword.bench.records import RequestRecord, verify
from nextword.bench.targets import Target, new_target
from nextword.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    NextwordError,
    StatusError,
)
from nextword.request import GRACE_SECONDS

__all__ = ["Measurement", "measure_level"]

# A client that was refused waits as long as it was told to, or this long, and never longer.
REFUSED_SECONDS = 0.1
MAX_REFUSED_SECONDS = 2.0


@dataclass(slots=True)
class Measurement:
    """What one level brought, while it runs and after.

    Attributes:
        level: What was measured.
        is_warming_up: Whether requests of the warm-up are running.
        started_at: When the first measured request was sent.
        window_ends_at: When clients stop sending; None where requests are counted.
        ended_at: When the last measured request ended.
        records: One for each measured request.
        warmup_records: One for each request of the warm-up.
        cpu_seconds: Processor time that this process used between start and end.
        is_complete: Whether it ran to its end.
    """

    level: Level
    is_warming_up: bool = True
    started_at: float = 0.0
    window_ends_at: float | None = None
    ended_at: float | None = None
    records: list[RequestRecord] = dataclass_field(default_factory=list[RequestRecord])
    warmup_records: list[RequestRecord] = dataclass_field(default_factory=list[RequestRecord])
    cpu_seconds: float = 0.0
    is_complete: bool = False


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
    on_start(measured)
    async with AsyncExitStack() as stack:
        targets = [new_target(level.address, plan) for _ in range(level.concurrency)]
        for target in targets:
            stack.push_async_callback(target.close)

        async def run(phase: str, records: list[RequestRecord], num_requests: int | None) -> bool:
            source = asks(plan, level, phase=phase, vocabulary_size=vocabulary_size)
            loop = _Loop(plan, source, records, num_requests, measured.window_ends_at)
            return await loop.run(targets, stop)

        is_warm = await run("warmup", measured.warmup_records, level.num_warmup_requests)
        measured.is_warming_up = False
        measured.started_at = time.perf_counter()
        if plan.seconds is not None:
            measured.window_ends_at = measured.started_at + plan.seconds
        cpu_before = time.process_time()
        if is_warm:
            measured.is_complete = await run("measure", measured.records, plan.num_requests)
        measured.ended_at = time.perf_counter()
        measured.cpu_seconds = time.process_time() - cpu_before
    return measured


class _Loop:
    """Clients that share one supply of requests."""

    def __init__(
        self,
        plan: Plan,
        source: Iterator[Ask],
        records: list[RequestRecord],
        num_requests: int | None,
        ends_at: float | None,
    ) -> None:
        self._plan = plan
        self._source = source
        self._records = records
        self._num_requests = num_requests
        self._ends_at = ends_at

    async def run(self, targets: list[Target], stop: asyncio.Event) -> bool:
        """Let every client work until the supply ends; False when it was stopped before."""
        stopping = asyncio.create_task(stop.wait())
        working = asyncio.create_task(self._work_all(targets))
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

    async def _work_all(self, targets: list[Target]) -> None:
        async with asyncio.TaskGroup() as group:
            for target in targets:
                group.create_task(self._work(target))

    def _next(self) -> Ask | None:
        is_over = self._ends_at is not None and time.perf_counter() >= self._ends_at
        is_enough = self._num_requests is not None and len(self._records) >= self._num_requests
        return None if is_over or is_enough else next(self._source)

    async def _work(self, target: Target) -> None:
        while (ask := self._next()) is not None:
            record = RequestRecord()
            self._records.append(record)
            pause = 0.0
            try:
                async with asyncio.timeout(self._plan.timeout_seconds + GRACE_SECONDS):
                    await target.send(ask, record)
            except NextwordError as error:
                record.fail(_code(error), str(error))
                pause = _pause(error)
            except TimeoutError:
                record.fail("deadline_exceeded", "the time was over, and no word about it")
            # What is cancelled leaves here without an end, and counts as neither.
            record.ended_at = time.perf_counter()
            verify(record, self._plan)
            await asyncio.sleep(pause)


def _code(error: NextwordError) -> str:
    match error:
        case StatusError(code=code):
            return code
        case ConnectionFailedError():
            return "connection_failed"
        case _:
            return "protocol_error"


def _pause(error: NextwordError) -> float:
    match error:
        case DeadlineExceededError():
            return 0.0
        case StatusError(retry_after_seconds=float() as seconds):
            return min(seconds, MAX_REFUSED_SECONDS)
        case _:
            return REFUSED_SECONDS
