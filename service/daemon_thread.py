"""Blocking work beside the event loop that never keeps the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_daemon_thread"]

ResultT = TypeVar("ResultT")


async def in_daemon_thread(work: Callable[[], ResultT]) -> ResultT:
    """Call a function in a thread of its own; what it gives or raises.

    Unlike the loop's own threads it is not waited for when the loop ends: hashing some gigabytes
    must not hold up a server that was told to leave.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[ResultT] = loop.create_future()

    def settle(result: ResultT | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # pyright: ignore[reportArgumentType]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        # A closed loop takes no more calls, and nobody waits any more.
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="beside-the-loop", daemon=True).start()
    return await done
