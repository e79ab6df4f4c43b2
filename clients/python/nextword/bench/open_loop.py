"""The open loop: requests are sent when they are due, whatever became of those before them.

Times count from when a request was due, so that neither a slow server nor a late client hides
behind requests that were not sent.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from nextword.bench.measurement import Sender
from nextword.bench.prompts import Ask
from nextword.bench.records import CLIENT_LIMIT, RequestRecord
from nextword.bench.targets import Target

__all__ = ["MAX_RUNNING", "TargetPool", "run_open_loop"]

# Each has a connection of its own; the system limits how many a process may have.
MAX_RUNNING = 4096


class TargetPool:
    """Clients that wait for a request, and new ones when none does.

    Args:
        new_target: Makes one.
    """

    def __init__(self, new_target: Callable[[], Target]) -> None:
        self._new_target = new_target
        self._idle: list[Target] = []
        self._num_targets = 0

    def take(self) -> Target | None:
        """The client that was used last, so that few connections are kept busy; None above the
        limit."""
        if self._idle:
            return self._idle.pop()
        if self._num_targets == MAX_RUNNING:
            return None
        self._num_targets += 1
        return self._new_target()

    def give_back(self, target: Target) -> None:
        """Its request has ended."""
        self._idle.append(target)

    async def close(self) -> None:
        """Close the connections of all that wait."""
        for target in self._idle:
            await target.close()


async def run_open_loop(
    pool: TargetPool,
    *,
    sender: Sender,
    asks: Iterator[Ask],
    records: list[RequestRecord],
    arrivals: Sequence[float],
    started_at: float,
) -> None:
    """Send a request at each of these times, and wait for the end of all.

    Args:
        pool: The clients.
        sender: Sends their requests.
        asks: The requests.
        records: Gets one for each request.
        arrivals: Seconds from the start.
        started_at: The start.
    """

    async def send(ask: Ask, record: RequestRecord) -> None:
        target = pool.take()
        if target is None:
            record.ended_at = time.perf_counter()
            record.fail(CLIENT_LIMIT, f"{MAX_RUNNING} requests were on their way already")
            return
        try:
            # Nobody waits for its client to come back: a refusal delays no other request.
            await sender.send(target, ask, record)
        finally:
            pool.give_back(target)

    async with asyncio.TaskGroup() as group:
        for after in arrivals:
            # Made while there is time for it.
            ask = next(asks)
            due_at = started_at + after
            wait = due_at - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            record = RequestRecord(started_at=due_at)
            records.append(record)
            group.create_task(send(ask, record))
