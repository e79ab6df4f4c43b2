"""A client of HTTP/2 that writes its frames by hand, as clients of gRPC never would."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import hpack

from tests.service.grpc_connections import (
    PREFACE,
    SERVICE,
    WAIT,
    RunningGrpcServer,
    frame,
    generate,
    headers_frame,
)
from tests.service.http_connections import PATIENCE_SECONDS

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = (
    *range(5),
    *range(6, 10),
)
ACKNOWLEDGED = END_STREAM = 1
INITIAL_WINDOW_SIZE = 4
CANCEL = (8).to_bytes(4, "big")
# Reasons of RST_STREAM and GOAWAY (RFC 9113, 7).
NO_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM, ENHANCE_YOUR_CALM = 0, 6, 7, 11
LARGEST_WINDOW = 2**31 - 1


class RawHttp2:
    """A connection of frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._decoder = hpack.Decoder()

    def send(self, *frames: bytes) -> None:
        """Send what may be no frames at all."""
        self.writer.write(b"".join(frames))

    async def next(self) -> tuple[int, int, bytes]:
        """Kind, stream and payload of what comes next."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            start = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(start[:3], "big"))
        return start[3], int.from_bytes(start[5:], "big"), payload

    async def until(self, kind: int, is_it: Callable[[bytes], bool] = lambda _: True) -> bytes:
        """The payload of the next frame of a kind."""
        while True:
            found, _, payload = await self.next()
            if found == kind and is_it(payload):
                return payload

    async def headers(self) -> tuple[int, dict[str, str]]:
        """The next headers and their stream."""
        while True:
            kind, stream, payload = await self.next()
            if kind == HEADERS:
                return stream, {
                    str(key): str(value) for key, value in self._decoder.decode(payload)
                }

    async def status(self) -> tuple[int, str]:
        """The status of the next call that ends, and its stream."""
        while True:
            stream, headers = await self.headers()
            if "grpc-status" in headers:
                return stream, headers["grpc-status"]

    async def wait_closed(self) -> None:
        """Return when the server has closed it."""
        # By a reset, where something was left unread.
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await self._reader.read(1 << 16):
                    pass


@asynccontextmanager
async def connected(server: RunningGrpcServer) -> AsyncGenerator[RawHttp2]:
    """A connection whose client has said that it speaks HTTP/2."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    raw = RawHttp2(reader, writer)
    raw.send(PREFACE)
    try:
        yield raw
    finally:
        writer.close()


def call_frames(
    stream: int,
    message: bytes,
    fields: Mapping[str, str] | None = None,
    *,
    method: str = "StreamGenerateText",
    is_open: bool = False,
    service: str = SERVICE,
) -> bytes:
    """A call with its message, and its end unless it stays open."""
    body = b"\0" + len(message).to_bytes(4, "big") + message
    head = headers_frame(stream, method, fields, service=service)
    return head + frame(DATA, END_STREAM * (not is_open), stream, body)


def window(stream: int, num_bytes: int) -> bytes:
    """Lets the server send more."""
    return frame(WINDOW, 0, stream, num_bytes.to_bytes(4, "big"))


def settings(code: int, value: int) -> bytes:
    """One setting."""
    return frame(SETTINGS, 0, 0, code.to_bytes(2, "big") + value.to_bytes(4, "big"))


def last_stream(goaway: bytes) -> int:
    """The last one that is answered."""
    return int.from_bytes(goaway[:4], "big")


def reason_of_leaving(goaway: bytes) -> int:
    """Why the server ends a connection."""
    return int.from_bytes(goaway[4:8], "big")


async def check_others_are_served(server: RunningGrpcServer) -> None:
    """Let another client begin a call."""
    num_before = server.core.num_started
    async with server.channel() as channel:
        other = generate(channel, WAIT)
        await server.core.wait_until(lambda: server.core.num_started == num_before + 1)
        other.cancel()
