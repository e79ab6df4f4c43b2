"""How connections end: asked for by either side, by a fault, or by a client that stands still."""

import asyncio
import gc
import socket
import ssl

import pytest
from nextword.v1 import text_generation_pb2 as pb

from service.grpc_transport.connection import Connection
from tests.service.grpc_connections import (
    FLOOD,
    LARGE_BYTES,
    PREFACE,
    WAIT,
    RunningGrpcServer,
    frame,
    generate,
    headers_frame,
    play_grpc,
)
from tests.service.http_connections import PATIENCE_SECONDS
from tests.service.raw_http2 import (
    ACKNOWLEDGED,
    DATA,
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    NO_ERROR,
    PING,
    RESET,
    call_frames,
    connected,
    last_stream,
    reason_of_leaving,
    settings,
    window,
)

FLOODED = FLOOD.SerializeToString()
WAITING = WAIT.SerializeToString()
LARGE = call_frames(
    1, pb.GenerateTextRequest(prompt="large").SerializeToString(), method="GenerateText"
)
SOCKET_BYTES = 16 * 1024


def test_a_client_is_asked_to_leave_in_two_steps() -> None:
    """A call that is on its way when the server leaves is told apart from one that is lost."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(call_frames(1, WAITING))
            await server.core.wait_until(lambda: server.core.num_started == 1)
            stopping = asyncio.create_task(server.server.stop())
            goaway = await raw.until(GOAWAY)
            assert (last_stream(goaway), reason_of_leaving(goaway)) == (LARGEST_WINDOW, NO_ERROR)
            raw.send(call_frames(3, WAITING))
            raw.send(frame(PING, ACKNOWLEDGED, 0, await raw.until(PING)))
            assert last_stream(await raw.until(GOAWAY)) == 3
            raw.send(call_frames(5, WAITING))
            await raw.until(RESET)
            await raw.wait_closed()
            await stopping
            assert server.core.num_started == 2

    play_grpc(scenario)


def test_the_calls_of_a_client_that_goes_away_go_on() -> None:
    """RFC 9113, 6.8: it begins no more, and reads what it began."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(call_frames(1, FLOODED))
            raw.send(frame(GOAWAY, 0, 0, bytes(8)), frame(PING, 0, 0, b"12345678"))
            await raw.until(PING)
            received = 0
            while received < 200_000:
                num_bytes = len(await raw.until(DATA))
                raw.send(window(0, num_bytes), window(1, num_bytes))
                received += num_bytes
            raw.send(frame(RESET, 0, 1, bytes(4)))
            await raw.wait_closed()

    play_grpc(scenario)


@pytest.mark.parametrize("fault", [b"\xff" * 20, frame(GOAWAY, 0, 0, bytes(8))])
def test_a_connection_whose_client_takes_nothing_is_cut(fault: bytes) -> None:
    """However it was to end, and with an answer still to be sent."""

    async def scenario(server: RunningGrpcServer) -> None:
        client = narrow_client(server)
        with client:
            client.sendall(PREFACE + settings(INITIAL_WINDOW_SIZE, LARGEST_WINDOW))
            client.sendall(window(0, 2**30) + LARGE)
            await server.core.wait_until(lambda: server.core.num_started == 1)
            client.sendall(fault)
            await wait_all_forgotten()

    play_grpc(
        scenario,
        socket_bytes=SOCKET_BYTES,
        stall_timeout_seconds=0.5,
        min_answer_bytes_per_second=LARGE_BYTES,
    )


def test_an_answer_that_waits_for_the_socket_is_not_delivered() -> None:
    """H69, H96: windows as wide as they get let no more through than the socket takes."""

    async def scenario(server: RunningGrpcServer) -> None:
        client = narrow_client(server)
        with client:
            client.sendall(PREFACE + settings(INITIAL_WINDOW_SIZE, LARGEST_WINDOW))
            client.sendall(window(0, 2**30) + LARGE)
            await server.core.wait_until(lambda: server.core.num_started == 1)
            assert server.log.num_open == 1
            await asyncio.wait_for(server.log.wait_all_closed(), PATIENCE_SECONDS)
            labels = {"protocol": "grpc", "route": "GenerateText", "model": "none"}
            outcome = "reader_too_slow"
            assert server.count("nextword_requests_total", outcome=outcome, **labels) == 1

    play_grpc(
        scenario,
        socket_bytes=SOCKET_BYTES,
        stall_timeout_seconds=0.5,
        min_answer_bytes_per_second=4 * LARGE_BYTES,
    )


def narrow_client(server: RunningGrpcServer) -> socket.socket:
    """A client in whose socket little is kept, and that reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
    client.connect(("127.0.0.1", server.port))
    return client


def test_connections_that_are_gone_are_forgotten() -> None:
    """Also those whose calls end after them."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(call_frames(1, WAITING))
            await server.core.wait_until(lambda: server.core.num_started == 1)
            assert num_connections() == 1
        for number in range(20):
            async with connected(server) as raw:
                raw.send(call_frames(1, WAITING), headers_frame(3, "GenerateText"))
                await server.core.wait_until(lambda: server.core.num_started == number + 2)  # noqa: B023
        await server.core.wait_until(lambda: server.core.num_left == 21)
        await wait_all_forgotten()

    play_grpc(scenario)


def num_connections() -> int:
    """Connections that the server keeps in some way."""
    gc.collect()
    return sum(type(each) is Connection for each in gc.get_objects())


async def wait_all_forgotten() -> None:
    """Return when the server keeps no connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        # Nobody tells when the last reference goes.
        while num_connections() > 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("hello", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["silent", "in the clear"])
def test_a_client_whose_handshake_fails_does_not_keep_the_server_from_stopping(
    hello: bytes, tls: ssl.SSLContext
) -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(hello)
        if hello:
            await reader.read()
        await asyncio.wait_for(server.server.stop(), PATIENCE_SECONDS)
        await wait_all_forgotten()
        writer.close()

    play_grpc(scenario, tls=tls, receive_timeout_seconds=0.3)


@pytest.fixture
def tls() -> ssl.SSLContext:
    """A server's half, with no certificate: nobody gets as far as to ask for it."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_above_the_limit_the_longest_idle_connection_makes_room() -> None:
    """H92: and where none is idle, the newest goes; calls go on."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as busy, connected(server) as idle:
            busy.send(call_frames(1, WAITING))
            await server.core.wait_until(lambda: server.core.num_started == 1)
            async with connected(server) as newer:
                await idle.wait_closed()
                newer.send(call_frames(1, WAITING))
                await server.core.wait_until(lambda: server.core.num_started == 2)
                async with connected(server) as newest:
                    await newest.wait_closed()
            assert server.core.num_left == 0

    play_grpc(scenario, max_connections=2)


def test_calls_end_when_the_server_stops() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            call = generate(channel, WAIT)
            await server.core.wait_until(lambda: server.core.num_started == 1)
            await server.server.stop()
            assert (await call.code()).name == "UNAVAILABLE"
        assert server.core.num_left == 1

    play_grpc(scenario)
