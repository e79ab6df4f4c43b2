"""The context of a stream, with an end to waiting for a client that does not read.

HTTP/2 holds a write back while the client's window is full, for as long as it likes.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from service.errors import ErrorKind, RequestError
from service.grpc_transport.call import Call, CallEndedError

__all__ = ["Head", "PacedContext", "client_left", "write_whole"]

_REQUEST_ID = "x-request-id"


class Head:
    """The initial metadata of one call, sent once, with what comes first.

    Not earlier: a client that has them does not ask another server when this one refuses.

    Args:
        context: The call's.
        request_id: What they tell.

    Attributes:
        is_sent: Whether they are out, or on their way.
    """

    def __init__(self, context: Call, *, request_id: str) -> None:
        self._context = context
        self._request_id = request_id
        self.is_sent = False

    async def send(self) -> None:
        """Send them unless they are sent.

        Raises:
            RequestError: The client left.
        """
        if self.is_sent:
            return
        self.is_sent = True
        try:
            await self._context.send_initial_metadata(((_REQUEST_ID, self._request_id),))
        except CallEndedError:
            raise client_left() from None


class PacedContext:
    """What a stream's handler needs of a context.

    Args:
        context: The call's.
        head: Goes out before the first message.
        stall_seconds: Longest that one write may take.
    """

    def __init__(self, context: Call, head: Head, *, stall_seconds: float) -> None:
        self._context = context
        self._head = head
        self._stall_seconds = stall_seconds
        self._loop = asyncio.get_running_loop()
        self._writing_since: float | None = None
        self._is_stalled = False

    def time_remaining(self) -> float | None:
        """Seconds until the call's own deadline."""
        return self._context.time_remaining()

    def may_put(self) -> bool:
        """Whether `put` may be called: nothing has to be waited for."""
        return self._context.may_put

    def put(self, message: bytes) -> None:
        """Send one message."""
        self._context.put(message)

    async def write(self, message: object) -> None:
        """Send one message; waits while the client does not read."""
        self._writing_since = self._loop.time()
        if not self._head.is_sent:
            await self._head.send()
        try:
            await self._context.write(message)
        except CallEndedError:
            raise client_left() from None
        self._writing_since = None

    @contextmanager
    def watched(self) -> Generator[None, None, None]:
        """Let no write of the block take too long.

        Raises:
            RequestError: READER_TOO_SLOW, where one did.
        """
        task = asyncio.current_task()
        assert task is not None
        # One timer for a whole stream: a write that does not wait costs nothing more.
        watching = self._loop.create_task(self._watch(task))
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_stalled:
                raise
            task.uncancel()
            raise RequestError(
                ErrorKind.READER_TOO_SLOW,
                f"nothing was read for {self._stall_seconds:g} seconds",
            ) from None
        finally:
            watching.cancel()

    async def _watch(self, task: asyncio.Task[object]) -> None:
        while True:
            now = self._loop.time()
            since = now if self._writing_since is None else self._writing_since
            if now - since >= self._stall_seconds:
                self._is_stalled = True
                task.cancel()
                return
            await asyncio.sleep(since + self._stall_seconds - now)


async def write_whole(context: Call, head: Head, data: bytes, *, seconds: float) -> None:
    """Send the one message of a call.

    Args:
        context: The call's.
        head: Goes out before it.
        data: The message.
        seconds: How long it may take: nobody says how much of it is through.

    Raises:
        RequestError: READER_TOO_SLOW, or the client left.
    """
    try:
        async with asyncio.timeout(seconds):
            await head.send()
            await context.write(data)
    except TimeoutError:
        raise RequestError(
            ErrorKind.READER_TOO_SLOW,
            f"an answer of {len(data)} bytes was not read within {seconds:.0f} seconds",
        ) from None
    except CallEndedError:
        raise client_left() from None


def client_left() -> RequestError:
    """The end of a call whose client is gone; for log and metrics."""
    return RequestError(ErrorKind.CANCELLED, "the client left")
