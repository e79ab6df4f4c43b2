"""Our HTTP server in this process on a real socket, around an application that waits and floods."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import uvloop
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.errors import RequestError
from service.health import Health
from service.metrics import Metrics
from service.rest_api.delivery import send_body, until_disconnected
from service.rest_api.envelope import Envelope
from service.rest_api.server import HttpServer
from service.transport_limits import TransportLimits

# Bounds of waiting, far above what is usual.
PATIENCE_SECONDS = 30.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
# Far more than the buffers of both kernels.
LARGE_BYTES = 1_500_000
WAIT = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Application:
    """Answers by path, and notes when clients leave.

    /echo answers the length of the body; /wait answers nothing until the client leaves; /flood
    sends as fast as it is allowed to; /large answers LARGE_BYTES at once, /whole as the routes do;
    everything else is answered at once, its body unread.
    """

    num_left: int = 0
    num_sent_bytes: int = 0
    has_changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = b"hello"
        if scope["path"] == "/large":
            answer = b"x" * LARGE_BYTES
        elif scope["path"] == "/echo":
            body = await Request(scope, receive).body()
            answer = str(len(body)).encode()
        elif scope["path"] == "/whole":
            with contextlib.suppress(RequestError):
                work = send_body(scope, send, b"x" * LARGE_BYTES)
                await until_disconnected(receive, work)
            self._note_left()
            return
        elif scope["path"] == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            self._note_left()
            return
        elif scope["path"] == "/flood":
            await self._flood(receive, send)
            return
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Return when something about this application holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_true():
                self.has_changed.clear()
                await self.has_changed.wait()

    async def _flood(self, receive: Receive, send: Send) -> None:
        async def write() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1024, "more_body": True})
                self.num_sent_bytes += 1024
                # The server's own send returns at once while its buffer has room.
                await asyncio.sleep(0)

        writing = asyncio.create_task(write())
        while (await receive())["type"] != "http.disconnect":
            pass
        writing.cancel()
        self._note_left()

    def _note_left(self) -> None:
        self.num_left += 1
        self.has_changed.set()


@dataclass
class Connection:
    """A client's end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer, which must have a length."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode().split("\r\n")[:-2]
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers["content-length"]))
            return int(status.split()[1]), headers, body

    async def error_code(self) -> tuple[int, str]:
        """Status and code of an answer that is an error with a request id."""
        status, headers, body = await self.answer()
        assert headers["x-request-id"]
        assert headers["content-type"] == "application/json"
        return status, json.loads(body)["error"]["code"]

    async def is_ended(self) -> bool:
        """Whether the server closes the connection, whatever it still says."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(1 << 16):
                    pass
            return True

    def reset(self) -> None:
        """Go away as a killed client does: RST, no farewell."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@dataclass
class RunningServer:
    """The server and how to reach it."""

    application: Application
    port: int
    refusals: list[str]
    connections: list[Connection] = field(default_factory=list[Connection])

    async def connect(self, *, receive_buffer_bytes: int | None = None) -> Connection:
        """A new connection."""
        client = socket.socket()
        if receive_buffer_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=client, limit=1 << 16)
        connection = Connection(reader, writer)
        self.connections.append(connection)
        return connection

    async def hang_up(self) -> None:
        """Leave nothing open on the clients' side."""
        for connection in self.connections:
            connection.writer.transport.abort()
        for connection in self.connections:
            with contextlib.suppress(ConnectionError):
                await connection.writer.wait_closed()
        self.connections.clear()


@contextlib.asynccontextmanager
async def running_server(**limits: Any) -> AsyncGenerator[RunningServer]:
    """A server with some limits of its own."""
    application = Application()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    refusals: list[str] = []
    own = TransportLimits(**limits)
    server = HttpServer(
        Envelope(application, Health(), Metrics(), own),
        listener,
        limits=own,
        on_refusal=refusals.append,
    )
    serving = asyncio.create_task(server.run())
    try:
        yield RunningServer(application, listener.getsockname()[1], refusals)
    finally:
        server.stop()
        await serving


Scenario: TypeAlias = Callable[[RunningServer], Coroutine[None, None, None]]


class Stage:
    """The loop that the service runs on, and a server with the limits that are the default."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._context = running_server()
        self._server = self._runner.run(self._context.__aenter__())

    def play(self, scenario: Scenario, **limits: Any) -> None:
        """Run a scenario on the common server, or on one with limits of its own."""
        self._runner.run(
            _play_alone(scenario, **limits) if limits else _play(scenario, self._server)
        )

    def close(self) -> None:
        """End the server and the loop."""
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()


async def _play_alone(scenario: Scenario, **limits: Any) -> None:
    async with running_server(**limits) as server:
        await _play(scenario, server)


async def _play(scenario: Scenario, server: RunningServer) -> None:
    try:
        await scenario(server)
    finally:
        await server.hang_up()


def head(*lines: bytes, path: bytes = b"/", method: bytes = b"GET") -> bytes:
    """The head of a request with more lines."""
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: x", *lines, b"", b""])


async def hello(server: RunningServer) -> None:
    """A good client is served."""
    connection = await server.connect()
    await connection.send(GET)
    assert (await connection.answer())[2] == b"hello"
    connection.writer.close()
