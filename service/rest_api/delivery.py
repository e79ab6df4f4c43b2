"""Answers on their way to a client: in slices as it reads them, and no longer than it is there."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping

from starlette.types import Receive, Scope, Send

from service.errors import ErrorKind, RequestError
from service.large_answers import ANSWER_MEMORY, SMALL_ANSWER_BYTES
from service.transport_limits import TransportLimits

__all__ = ["send_body", "until_disconnected"]


async def send_body(
    scope: Scope, send: Send, body: bytes, *, headers: Mapping[str, str] | None = None
) -> None:
    """Send a whole JSON body; returns when the client has read all but the last of it.

    A client that takes too long is cut off, which whoever waits for it to leave sees.

    Args:
        scope: The request's; its state has the limits and the end of its connection.
        send: Where its messages go.
        body: What is sent.
        headers: What its head says beside the usual.

    Raises:
        RequestError: Answers that others read slowly leave no room for it; nothing is sent.
    """
    limits: TransportLimits = scope["state"]["limits"]
    cut_off: Callable[[], None] = scope["state"]["cut_off"]
    with ANSWER_MEMORY.held(len(body)):
        head = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **(headers or {}),
        }
        encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in head.items()]
        loop = asyncio.get_running_loop()
        cutting = loop.call_later(limits.reading_seconds(len(body)), cut_off)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": encoded})
            # The server waits before each slice until the one before has left its buffer.
            for start in range(0, len(body), SMALL_ANSWER_BYTES):
                end = start + SMALL_ANSWER_BYTES
                part = {"body": body[start:end], "more_body": end < len(body)}
                await send({"type": "http.response.body", **part})
        finally:
            cutting.cancel()


async def until_disconnected(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Run the work; stop it when the client leaves.

    Raises:
        RequestError: CANCELLED when the client left, or what the work raised.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_wait_disconnected(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RequestError(ErrorKind.CANCELLED, "the client left")
        working.result()
    finally:
        leaving.cancel()
        working.cancel()
        # The work must have let go of the stream before its owner closes it.
        await asyncio.wait((working, leaving))


async def _wait_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
