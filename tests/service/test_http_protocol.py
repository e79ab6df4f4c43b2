"""Connections that hold back, flood, cheat or leave: what each costs, and what it is told."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator

import pytest

from service.rest_api.connections import SEND_BUFFER_BYTES, tune_socket
from tests.service.http_connections import PATIENCE_SECONDS, Connection, RunningServer, Stage

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def head(*lines: bytes, path: bytes = b"/", method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: x", *lines, b"", b""])


async def hello(server: RunningServer) -> None:
    """A good client is served."""
    connection = await server.connect()
    await connection.send(GET)
    assert (await connection.answer())[2] == b"hello"
    connection.writer.close()


@pytest.mark.parametrize(
    "start",
    [b"GET /", b"GET / HTTP/1.1\r\nHos", b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n"],
)
def test_a_head_that_never_ends_is_told_so_in_time(stage: Stage, start: bytes) -> None:
    """H81: the deadline is absolute; a byte now and then does not move it."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(start)
        dripping = asyncio.create_task(drip(connection))
        await hello(server)
        assert await connection.error_code() == (408, "request_timeout")
        assert await connection.is_ended()
        dripping.cancel()
        assert server.refusals == ["request_timeout"]

    stage.play(scenario, receive_timeout_seconds=0.15)


async def drip(connection: Connection) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.sleep(0.02)
            await connection.send(b"a")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"], ids=["length", "chunked"]
)
def test_a_body_that_never_ends_is_told_so_in_time(stage: Stage, framing: bytes) -> None:
    """H81: the application gets the error where it reads, so it is logged as any other."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(head(framing, path=b"/echo", method=b"POST"))
        await connection.send(b"5\r\nabcde\r\n")
        assert await connection.error_code() == (408, "request_timeout")
        assert await connection.is_ended()
        await hello(server)

    stage.play(scenario, receive_timeout_seconds=0.15)


def test_a_body_that_nobody_wants_does_not_keep_the_connection(stage: Stage) -> None:
    """H81: the answer is out, the rest of the body never comes."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(head(b"Content-Length: 5", method=b"POST") + b"a")
        assert (await connection.answer())[2] == b"hello"
        assert await connection.is_ended()

    stage.play(scenario, receive_timeout_seconds=0.15)


@pytest.mark.parametrize("start", [b"", b"\r\n"], ids=["nothing", "a blank line"])
def test_a_silent_connection_is_closed(stage: Stage, start: bytes) -> None:
    """H92."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(start)
        assert await connection.is_ended()

    stage.play(scenario, receive_timeout_seconds=0.2)


def test_an_idle_connection_is_closed_after_its_time_and_not_before(stage: Stage) -> None:
    """H92: two requests, then silence."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        for _ in range(2):
            await connection.send(GET)
            assert (await connection.answer())[0] == 200
        # An answer that came before the end of its request's body.
        await connection.send(head(b"Content-Length: 5", method=b"POST") + b"a")
        assert (await connection.answer())[0] == 200
        await connection.send(b"bcde")
        assert await connection.is_ended()

    stage.play(scenario, idle_timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (head(b"A: " + b"x" * 65536), 431, "headers_too_large"),
        (head(*[b"A: b"] * 1000), 431, "headers_too_large"),
        (head(path=b"/" + b"x" * 65536), 414, "url_too_long"),
        (b"GET /" + b"x" * 10_000, 414, "url_too_long"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000, 431, "headers_too_large"),
    ],
    ids=["one header", "many headers", "url", "unfinished url", "unfinished header"],
)
def test_a_head_beyond_its_limits_is_refused(
    stage: Stage, request_bytes: bytes, status: int, code: str
) -> None:
    """H82."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(request_bytes)
        assert await connection.error_code() == (status, code)
        assert await connection.is_ended()
        assert server.refusals[-1] == code

    stage.play(scenario)


def test_a_head_at_its_limits_is_served(stage: Stage) -> None:
    """H82: 127 headers beside Host, a URL of 8 KiB."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(head(*[b"A: b"] * 127, path=b"/" + b"x" * 8191))
        assert (await connection.answer())[0] == 200

    stage.play(scenario)


@pytest.mark.parametrize(
    "request_bytes",
    [
        head(b"Content-Length: 4", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n",
        head(b"Content-Length: 1", b"Content-Length: 2", method=b"POST") + b"ab",
        head(b"Content-Length: +1", method=b"POST") + b"a",
        head(b"Content-Length: 1, 1", method=b"POST") + b"a",
        head(b"Content-Length: -1", method=b"POST"),
        head(b"Transfer-Encoding: chunked, identity", method=b"POST") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: xchunked", method=b"POST") + b"0\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        head(b"A : b"),
        head(b"A: b\0c"),
        head(b": b"),
        b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        head(b"Host: y"),
        b"GET / HTTP/1.1\r\nHost: a/health?x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        head(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 3", method=b"POST")
        + b"abc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(
    stage: Stage, request_bytes: bytes
) -> None:
    """H9, H91."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(request_bytes)
        assert await connection.error_code() == (400, "invalid_http")
        assert await connection.is_ended()

    stage.play(scenario)


@pytest.mark.parametrize(
    "body",
    [
        b"4\r\nabcdef\r\n0\r\n\r\n",
        b"zz\r\n",
        b"-1\r\n",
        b"4\nabcd\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n",
    ],
)
def test_a_body_whose_chunks_are_wrong_is_refused(stage: Stage, body: bytes) -> None:
    """H91."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        request = head(b"Transfer-Encoding: chunked", path=b"/echo", method=b"POST")
        await connection.send(request)
        await connection.send(body)
        assert await connection.error_code() == (400, "invalid_http")
        assert await connection.is_ended()

    stage.play(scenario)


def test_trailers_change_nothing_and_are_bounded(stage: Stage) -> None:
    """H82, H91: a trailer is no header, and an endless one no way around the limits."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        request = head(b"Transfer-Encoding: chunked", path=b"/echo", method=b"POST")
        await connection.send(request + b"3\r\nabc\r\n0\r\nX-Request-Id: forged\r\n\r\n")
        _, headers, body = await connection.answer()
        assert (headers["x-request-id"] == "forged", body) == (False, b"3")
        await connection.send(request + b"3\r\nabc\r\n0\r\nA: ")
        await connection.send(b"x" * 100_000)
        assert await connection.error_code() == (431, "headers_too_large")

    stage.play(scenario)


def test_a_second_request_waits_for_the_answer_to_the_first(stage: Stage) -> None:
    """What a client sends ahead is not read: it could hide that the client has left (H66)."""

    async def scenario(server: RunningServer) -> None:
        before = server.application.num_left
        connection = await server.connect()
        await connection.send(GET + GET)
        _, headers, _ = await connection.answer()
        assert headers["connection"] == "close"
        assert await connection.is_ended()
        ahead = await server.connect()
        await ahead.send(WAIT + GET + GET)
        await ahead.send(b"x" * 100_000)
        ahead.reset()
        await server.application.wait_until(lambda: server.application.num_left == before + 1)

    stage.play(scenario)


def test_an_upgrade_is_ignored_and_the_request_answered(stage: Stage) -> None:
    """H11."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(head(b"Connection: Upgrade", b"Upgrade: websocket") + b"\x81\x00")
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (200, "close")

    stage.play(scenario)


@pytest.mark.parametrize("path", [b"/wait", b"/flood"])
@pytest.mark.parametrize("is_abrupt", [True, False])
def test_an_application_learns_at_once_that_its_client_left(
    stage: Stage, path: bytes, is_abrupt: bool
) -> None:
    """H66, H67: pins what this uvicorn and this starlette do at a close and at a reset."""

    async def scenario(server: RunningServer) -> None:
        before = server.application.num_left
        connection = await server.connect()
        await connection.send(head(path=path))
        if path == b"/flood":
            await connection.reader.readuntil(b"xxxx")
        if is_abrupt:
            connection.reset()
        else:
            connection.writer.close()
        await server.application.wait_until(lambda: server.application.num_left == before + 1)

    stage.play(scenario)


def test_a_client_that_stops_reading_holds_little_and_not_for_long(stage: Stage) -> None:
    """H69: our buffers and the kernel's together stay below 512 KiB, and the stream ends."""

    async def scenario(server: RunningServer) -> None:
        before = server.application.num_left
        connection = await server.connect(receive_buffer_bytes=16 * 1024)
        # The stream reader of a client pauses at twice its limit, 128 KiB.
        await connection.send(head(path=b"/flood"))
        await server.application.wait_until(lambda: server.application.num_left == before + 1)
        assert 0 < server.application.num_sent_bytes < 512 * 1024
        assert server.refusals == ["slow_reader"]
        connection.reset()

    stage.play(scenario, stall_timeout_seconds=0.5)


def test_a_client_that_reads_slowly_but_steadily_is_kept(stage: Stage) -> None:
    """H69: the positive control of the test above."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect(receive_buffer_bytes=16 * 1024)
        await connection.send(head(path=b"/flood"))
        for _ in range(12):
            await asyncio.sleep(0.07)
            await connection.reader.readexactly(100_000)
        assert server.application.num_left == 0
        connection.reset()

    stage.play(scenario, stall_timeout_seconds=0.5)


def test_above_the_cap_an_idle_connection_makes_room_and_a_busy_one_does_not(stage: Stage) -> None:
    """H92."""

    async def scenario(server: RunningServer) -> None:
        before = server.application.num_left
        idle = await server.connect()
        await idle.send(GET)
        assert (await idle.answer())[0] == 200
        busy = [await server.connect() for _ in range(3)]
        for connection in busy:
            await connection.send(WAIT)
        assert await idle.is_ended()
        refused = await server.connect()
        assert await refused.error_code() == (503, "too_many_connections")
        assert await refused.is_ended()
        assert server.refusals == ["too_many_connections"]
        busy[0].reset()
        await server.application.wait_until(lambda: server.application.num_left == before + 1)
        await hello(server)
        for connection in busy[1:]:
            connection.reset()

    stage.play(scenario, max_connections=3)


def test_five_hundred_silent_connections_do_not_keep_a_good_client_waiting(stage: Stage) -> None:
    """H81, H92."""

    async def scenario(server: RunningServer) -> None:
        silent = await asyncio.gather(*(server.connect() for _ in range(500)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await hello(server)
        for connection in silent:
            connection.reset()

    stage.play(scenario, receive_timeout_seconds=2.0)


def test_a_dead_peer_is_noticed_and_a_slow_one_bounded_by_the_kernel() -> None:
    """H70, H69: keepalive probes within a minute, an end for unanswered data, a small buffer."""
    with socket.socket() as connection:
        tune_socket(connection)
        option = connection.getsockopt
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        # The kernel doubles what it is asked for.
        assert option(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER_BYTES
        if sys.platform == "linux":
            idle = option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            interval = option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            assert idle + interval * option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) <= 60
            assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 60_000
