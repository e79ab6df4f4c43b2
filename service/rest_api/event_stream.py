"""Server-sent events on one connection: headers late, one line of JSON each, pings in silence.

Headers go out with the first event or the first ping, so that what fails before has a real status;
what fails later is an error event, and then no [DONE], which means success.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Generic, TypeVar

import msgspec
from starlette.types import Send

from service.errors import RequestError
from service.outlet import Outlet
from service.rest_api.direct_writer import DirectWriter
from service.rest_api.errors import error_body

__all__ = ["PING_SECONDS", "EventStream"]

PieceT = TypeVar("PieceT")

_encode = msgspec.json.Encoder().encode

# Proxies close what is silent for longer.
PING_SECONDS = 15.0


class EventStream(Generic[PieceT]):
    """Writes one answer.

    Args:
        event_of: The event that tells of a piece.
        send: Where its messages go.
        headers: What its head says beside the usual.
        ping_seconds: Longest silence.
        direct: The short way to the connection, None where there is none.

    Attributes:
        outlet: Sends the event of a piece, but not of the last one.
        has_started: Whether its head is sent.
    """

    def __init__(
        self,
        send: Send,
        event_of: Callable[[PieceT], object],
        *,
        headers: Mapping[str, str],
        ping_seconds: float = PING_SECONDS,
        direct: DirectWriter | None = None,
    ) -> None:
        self._send = send
        self._event_of = event_of
        self._headers = headers
        self._ping_seconds = ping_seconds
        # A ping may become due while an event waits for a slow reader: whole lines or nothing.
        self._lock = asyncio.Lock()
        self._direct = direct
        self._loop = asyncio.get_running_loop()
        self._last_sent_at = self._loop.time()
        self.has_started = False
        self.outlet = Outlet[PieceT](self._may_write, self._put)

    async def send_all(
        self, pieces: AsyncIterator[PieceT], last_events: Callable[[], Iterable[object]]
    ) -> None:
        """Send the event of every piece, then the last events and the end."""
        pinging = asyncio.create_task(self._ping())
        try:
            async for piece in pieces:
                if self._may_write():
                    self._put(piece)
                else:
                    await self._write(_line(self._event_of(piece)))
            for event in last_events():
                await self._write(_line(event))
        finally:
            pinging.cancel()
        await self._write(b"data: [DONE]\n\n", is_last=True)

    async def send_error(self, error: RequestError) -> None:
        """End an answer that has begun."""
        await self._write(_line(error_body(error)), is_last=True)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._last_sent_at + self._ping_seconds - self._loop.time())
            if self._loop.time() - self._last_sent_at >= self._ping_seconds:
                await self._write(b": ping\n\n")

    def _may_write(self) -> bool:
        # A ping that waits for a slow reader holds the lock.
        return (
            self._direct is not None
            and self.has_started
            and not self._lock.locked()
            and self._direct.is_open
        )

    def _put(self, piece: PieceT) -> None:
        assert self._direct is not None
        self._direct.write(_line(self._event_of(piece)))
        self._last_sent_at = self._loop.time()

    async def _write(self, data: bytes, *, is_last: bool = False) -> None:
        async with self._lock:
            if not self.has_started:
                self.has_started = True
                await self._send(
                    {"type": "http.response.start", "status": 200, "headers": self._head()}
                )
            await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})
            self._last_sent_at = self._loop.time()

    def _head(self) -> list[tuple[bytes, bytes]]:
        own = (
            (name.encode("ascii"), value.encode("ascii")) for name, value in self._headers.items()
        )
        return [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            # Tells nginx and its kin to pass events on as they come.
            (b"x-accel-buffering", b"no"),
            *own,
        ]


def _line(event: object) -> bytes:
    return b"data: %b\n\n" % _encode(event)
