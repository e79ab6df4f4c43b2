"""The closed loop: so many clients, each sending its next request when its last one has ended."""

import asyncio
import time
from collections.abc import Iterator

from nextword.bench.measurement import Sender
from nextword.bench.prompts import Ask
from nextword.bench.records import RequestRecord
from nextword.bench.targets import Target

__all__ = ["run_closed_loop"]


async def run_closed_loop(
    targets: list[Target],
    *,
    sender: Sender,
    asks: Iterator[Ask],
    records: list[RequestRecord],
    num_requests: int | None,
    ends_at: float | None,
) -> None:
    """Let every client work until the requests or the time are used up.

    Args:
        targets: The clients.
        sender: Sends their requests.
        asks: The requests, shared by the clients.
        records: Gets one for each request.
        num_requests: How many to send; None for no limit.
        ends_at: When to stop sending; None for no limit.
    """

    async def work(target: Target) -> None:
        while num_requests is None or len(records) < num_requests:
            if ends_at is not None and time.perf_counter() >= ends_at:
                return
            record = RequestRecord()
            records.append(record)
            await asyncio.sleep(await sender.send(target, next(asks), record))

    async with asyncio.TaskGroup() as group:
        for target in targets:
            group.create_task(work(target))
