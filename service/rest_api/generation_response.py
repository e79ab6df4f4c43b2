"""The answer of /v1/generate: read, generate and send under one span that a disconnect ends.

Headers of a stream go out with its first event or its first ping, so that what fails before has a
real status; what fails later is an error event.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import ErrorKind, RequestError
from service.generation import TextPiece
from service.request_log import RequestLog, RequestRecord
from service.rest_api.bodies import read_json_object
from service.rest_api.errors import error_body, error_response
from service.rest_api.messages import event_object, generation_object, read_generate_body
from service.text_generator import TextGenerator

__all__ = ["PING_SECONDS", "GenerationResponse"]

_logger = logging.getLogger(__name__)

# Proxies close what is silent for longer.
PING_SECONDS = 15.0


class GenerationResponse(Response):
    """Serves one request of /v1/generate, whole or as server-sent events."""

    def __init__(
        self,
        generator: TextGenerator,
        log: RequestLog,
        *,
        request_id: str,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        super().__init__()
        self._generator = generator
        self._log = log
        self._request_id = request_id
        self._ping_seconds = ping_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        events = _EventWriter(send, ping_seconds=self._ping_seconds)
        try:
            with self._log.request(
                protocol="rest", route="/v1/generate", request_id=self._request_id
            ) as record:
                body = read_generate_body(await read_json_object(Request(scope, receive)))
                async with aclosing(self._generator.stream(body.request, record)) as pieces:
                    if body.is_streamed:
                        await _until_disconnected(receive, events.send_all(pieces))
                    else:
                        await _until_disconnected(receive, _send_whole(pieces, record, send))
        except RequestError as error:
            if error.kind is ErrorKind.CANCELLED:
                return
            if events.has_started:
                await events.send_error(error)
            else:
                await error_response(error)(scope, receive, send)
        except Exception:
            if not events.has_started:
                raise
            _logger.exception("request %s failed in its stream", self._request_id)
            await events.send_error(RequestError(ErrorKind.INTERNAL_ERROR, "internal error"))


class _EventWriter:
    """Server-sent events on one connection, with pings while nothing else is sent."""

    def __init__(self, send: Send, *, ping_seconds: float) -> None:
        self._send = send
        self._ping_seconds = ping_seconds
        self._lock = asyncio.Lock()
        self._last_sent_at = asyncio.get_running_loop().time()
        self.has_started = False

    async def send_all(self, pieces: AsyncGenerator[TextPiece]) -> None:
        """Send every piece, then the end."""
        pinging = asyncio.create_task(self._ping())
        try:
            async for piece in pieces:
                await self._write(b"data: " + msgspec.json.encode(event_object(piece)) + b"\n\n")
        finally:
            pinging.cancel()
        await self._write(b"data: [DONE]\n\n", is_last=True)

    async def send_error(self, error: RequestError) -> None:
        """End a stream that has begun; without [DONE], which means success."""
        body = msgspec.json.encode(error_body(error))
        await self._write(b"data: " + body + b"\n\n", is_last=True)

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
                    {
                        "type": "http.response.start",
                        "status": 200,
                        "headers": [
                            (b"content-type", b"text/event-stream; charset=utf-8"),
                            (b"cache-control", b"no-cache"),
                            (b"x-accel-buffering", b"no"),
                        ],
                    }
                )
            await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})
            self._last_sent_at = asyncio.get_running_loop().time()


async def _send_whole(pieces: AsyncGenerator[TextPiece], record: RequestRecord, send: Send) -> None:
    answer = generation_object([piece async for piece in pieces])
    response = Response(msgspec.json.encode(answer), media_type="application/json")
    await response({"type": "http"}, _nothing_to_receive, send)


async def _nothing_to_receive() -> dict[str, object]:
    raise AssertionError("a plain response reads nothing")


async def _until_disconnected(receive: Receive, work: Coroutine[None, None, None]) -> None:
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
