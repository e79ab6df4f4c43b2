"""Connections that hold back, flood, cheat or leave: what each costs, and what it is told."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator

import pytest

from service.rest_api.connections import SEND_BUFFER_BYTES, tune_socket
from tests.service.http_connections import (
    GET,
    LARGE_BYTES,
    PATIENCE_SECONDS,
    WAIT,
    Connection,
    RunningServer,
    Stage,
    head,
    hello,
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


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


LARGE_HEADS = (head(path=b"/large"), head(b"Connection: close", path=b"/large"))


@pytest.mark.parametrize("request_head", LARGE_HEADS, ids=["kept", "closed"])
def test_one_large_body_may_take_longer_than_the_stall_time(
    stage: Stage, request_head: bytes
) -> None:
    """H69: what counts is that the client goes on reading, also past the time of an idle one."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect(receive_buffer_bytes=16 * 1024)
        await connection.send(request_head)
        await connection.reader.readuntil(b"\r\n\r\n")
        for _ in range(LARGE_BYTES // 100_000):
            await asyncio.sleep(0.07)
            await connection.reader.readexactly(100_000)
        assert server.refusals == []
        assert await connection.is_ended()

    stage.play(scenario, stall_timeout_seconds=0.4, idle_timeout_seconds=0.3)


@pytest.mark.parametrize("request_head", LARGE_HEADS, ids=["kept", "closed"])
def test_a_client_that_stops_in_the_midst_of_a_large_body_is_cut(
    stage: Stage, request_head: bytes
) -> None:
    """H69: the control of the test above."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect(receive_buffer_bytes=16 * 1024)
        await connection.send(request_head)
        await connection.reader.readexactly(300_000)
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The server counts it and tells nobody.
            while server.refusals != ["slow_reader"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await connection.reader.readexactly(LARGE_BYTES - 300_000)

    stage.play(scenario, stall_timeout_seconds=0.3, idle_timeout_seconds=0.2)


@pytest.mark.parametrize("seconds", [0.1, 60.0], ids=["too slow", "in time"])
def test_a_whole_answer_is_read_at_a_least_rate(stage: Stage, seconds: float) -> None:
    """H69: a few bytes now and then are progress, but hold its memory no longer than that."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect(receive_buffer_bytes=16 * 1024)
        await connection.send(head(path=b"/whole"))
        await connection.reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for _ in range(LARGE_BYTES // 20_000):
                await asyncio.sleep(0.015)
                await connection.reader.readexactly(20_000)
        await server.application.wait_until(lambda: server.application.num_left == 1)
        assert server.refusals == (["slow_reader"] if seconds < 1.0 else [])

    rate = round(LARGE_BYTES / seconds)
    stage.play(scenario, stall_timeout_seconds=0.5, min_answer_bytes_per_second=rate)


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
