"""Answers on their way to a client: in slices as it reads them, and no longer than it is there."""

import asyncio
from collections.abc import Coroutine, Mapping

from starlette.types import Receive, Send

from service.errors import ErrorKind, RequestError
from service.large_answers import ANSWER_MEMORY, SMALL_ANSWER_BYTES

__all__ = ["send_body", "until_disconnected"]


async def send_body(send: Send, body: bytes, *, headers: Mapping[str, str] | None = None) -> None:
    """Send a whole JSON body; returns when the client has read all but the last of it.

    Args:
        send: Where its messages go.
        body: What is sent.
        headers: What its head says beside the usual.

    Raises:
        RequestError: Answers that others read slowly leave no room for it; nothing is sent.
    """
    with ANSWER_MEMORY.held(len(body)):
        head = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **(headers or {}),
        }
        encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in head.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        # The server waits before each slice until the one before has left its buffer.
        for start in range(0, len(body), SMALL_ANSWER_BYTES):
            end = start + SMALL_ANSWER_BYTES
            part = {"body": body[start:end], "more_body": end < len(body)}
            await send({"type": "http.response.body", **part})


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
