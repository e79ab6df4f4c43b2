"""Server-sent events on one connection: headers late, one line of JSON each, pings in silence.

Headers go out with the first event or the first ping, so that what fails before has a real status;
what fails later is an error event, and then no [DONE], which means success.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import msgspec
from starlette.types import Send

from service.errors import RequestError
from service.rest_api.errors import error_body

__all__ = ["PING_SECONDS", "EventStream"]

# Proxies close what is silent for longer.
PING_SECONDS = 15.0


class EventStream:
    """Writes one answer.

    Args:
        send: Where its messages go.
        headers: What its head says beside the usual.
        ping_seconds: Longest silence.
    """

    def __init__(
        self,
        send: Send,
        *,
        headers: Mapping[str, str],
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self._send = send
        self._headers = headers
        self._ping_seconds = ping_seconds
        # A ping may become due while an event waits for a slow reader: whole lines or nothing.
        self._lock = asyncio.Lock()
        self._last_sent_at = asyncio.get_running_loop().time()
        self.has_started = False

    async def send_all(self, events: AsyncIterator[object]) -> None:
        """Send every event, then the end."""
        pinging = asyncio.create_task(self._ping())
        try:
            async for event in events:
                await self._write(_line(event))
        finally:
            pinging.cancel()
        await self._write(b"data: [DONE]\n\n", is_last=True)

    async def send_error(self, error: RequestError) -> None:
        """End an answer that has begun."""
        await self._write(_line(error_body(error)), is_last=True)

    async def _ping(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._last_sent_at + self._ping_seconds - loop.time())
            if loop.time() - self._last_sent_at >= self._ping_seconds:
                await self._write(b": ping\n\n")

    async def _write(self, data: bytes, *, is_last: bool = False) -> None:
        async with self._lock:
            if not self.has_started:
                self.has_started = True
                await self._send(
                    {"type": "http.response.start", "status": 200, "headers": self._head()}
                )
            await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})
            self._last_sent_at = asyncio.get_running_loop().time()

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
    return b"data: " + msgspec.json.encode(event) + b"\n\n"
