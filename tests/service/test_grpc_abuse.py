"""Clients that keep to no rule of HTTP/2 or use all of them up: what it costs, and how it ends."""

import asyncio

import pytest

from tests.service.grpc_connections import (
    FLOOD,
    PREFACE,
    WAIT,
    RunningGrpcServer,
    frame,
    headers_frame,
    play_grpc,
)
from tests.service.raw_http2 import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PRIORITY,
    RESET,
    SETTINGS,
    RawHttp2,
    call_frames,
    check_others_are_served,
    connected,
    reason_of_leaving,
    settings,
    window,
)

FLOODED = FLOOD.SerializeToString()
WAITING = WAIT.SerializeToString()


def test_a_client_that_pings_all_the_time_is_asked_to_leave() -> None:
    """And told in the words by which clients learn to ping less."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(*[frame(PING, 0, 0, bytes(8))] * 10)
            goaway = await raw.until(GOAWAY)
            assert reason_of_leaving(goaway) == ENHANCE_YOUR_CALM
            assert goaway[8:] == b"too_many_pings"
            await raw.wait_closed()
        await check_others_are_served(server)

    play_grpc(scenario)


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_client_that_takes_back_calls_without_end_is_cut(is_busy: bool) -> None:
    """H83: rapid reset, also where another call keeps the connection in use."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            if is_busy:
                raw.send(call_frames(1, WAITING))
                await server.core.wait_until(lambda: server.core.num_started == 1)
            for stream in range(3, 2401, 2):
                raw.send(
                    headers_frame(stream, "StreamGenerateText"), frame(RESET, 0, stream, CANCEL)
                )
            await raw.wait_closed()
        await server.core.wait_until(lambda: server.core.num_started == server.core.num_left)
        await check_others_are_served(server)

    play_grpc(scenario)


@pytest.mark.parametrize(
    "idle",
    [
        frame(SETTINGS, 0, 0),
        settings(INITIAL_WINDOW_SIZE, 1000),
        window(0, 1),
        frame(PRIORITY, 0, 1, bytes(3) + b"\x03\0"),
        frame(0xFA, 0, 0, b"?"),
        frame(DATA, 0, 1),
        frame(DATA, 0, 1, b"\0"),
        frame(DATA, 0, 3, bytes(100)),
        frame(DATA, END_STREAM, 5),
        headers_frame(5, "StreamGenerateText"),
    ],
    ids=[
        *("settings", "windows", "window", "priority", "unknown", "no data", "a byte of data"),
        *("unread data", "end of a call that is over", "head of a call that is over"),
    ],
)
def test_a_client_that_sends_frames_without_end_and_asks_for_nothing_is_cut(idle: bytes) -> None:
    """H83: each wants a look of ours, and some an answer."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            # One that waits for its message, one that has it, one that is over.
            raw.send(headers_frame(1, "StreamGenerateText"))
            raw.send(call_frames(3, WAITING, is_open=True))
            raw.send(call_frames(5, WAITING), frame(RESET, 0, 5, CANCEL))
            flooding = asyncio.create_task(flood(raw, idle))
            await raw.wait_closed()
            await flooding
        await check_others_are_served(server)

    play_grpc(scenario)


async def flood(raw: RawHttp2, idle: bytes) -> None:
    """Send a frame again and again for as long as it goes."""
    try:
        for _ in range(200):
            raw.send(idle * 100)
            await raw.writer.drain()
    except ConnectionError:
        pass


def test_a_client_that_tells_of_its_windows_for_each_message_is_served() -> None:
    """The control of the test above: more such frames, and each of them after one of ours."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(call_frames(1, FLOODED))
            for _ in range(4000):
                num_bytes = len(await raw.until(DATA))
                raw.send(window(0, num_bytes), window(1, num_bytes))
            assert server.core.num_left == 0

    play_grpc(scenario)


def test_an_answer_goes_through_a_window_that_opens_byte_by_byte() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(settings(INITIAL_WINDOW_SIZE, 0), call_frames(1, FLOODED))
            received = b""
            while len(received) < 20:
                raw.send(window(1, 1))
                part = await raw.until(DATA)
                assert len(part) == 1
                received += part
            # Nothing is made ahead of what is sent but the one message that waits.
            assert server.core.num_sent_bytes <= 2 * 1024

    play_grpc(scenario)


def test_streams_that_share_a_narrow_window_get_the_same() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        received = {1: 0, 3: 0, 5: 0}
        async with connected(server) as raw:
            raw.send(*[call_frames(stream, FLOODED) for stream in received])
            raw.send(*[window(stream, 2**30) for stream in received])
            while sum(received.values()) < 300_000:
                kind, stream, payload = await raw.next()
                if kind == DATA:
                    received[stream] += len(payload)
                    raw.send(window(0, len(payload)))
        assert max(received.values()) < 1.5 * min(received.values())

    play_grpc(scenario)


def test_headers_without_end_close_the_connection() -> None:
    """H81: in as many continuations as it likes."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(frame(HEADERS, 0, 1, b"\0\x01a\x01b"))
            raw.send(*[frame(CONTINUATION, 0, 1, b"\0\x01a\x7f\x00" + bytes(127))] * 2000)
            await raw.wait_closed()
        await check_others_are_served(server)

    play_grpc(scenario)


def test_a_frame_above_the_limit_is_refused_before_it_is_kept() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send((2**24 - 1).to_bytes(3, "big") + bytes((DATA, 0, 0, 0, 0, 1)))
            assert reason_of_leaving(await raw.until(GOAWAY)) == FRAME_SIZE_ERROR
            await raw.wait_closed()

    play_grpc(scenario)


def test_a_call_whose_message_does_not_come_ends() -> None:
    """H92."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(headers_frame(1, "StreamGenerateText"), frame(DATA, 0, 1, b"\0\0\0\0\x09ab"))
            await raw.until(HEADERS)
            await raw.until(RESET)
            assert server.core.num_started == 0

    play_grpc(scenario, receive_timeout_seconds=0.2)


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        PREFACE + frame(DATA, 0, 1, b"x"),
        PREFACE[:24] + b"\xff" * 20,
        PREFACE[:12],
    ],
    ids=["HTTP/1.1", "data of no call", "no frame", "half a greeting"],
)
def test_bytes_that_are_no_http2_close_the_connection(start: bytes) -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(start)
        await RawHttp2(reader, writer).wait_closed()
        writer.close()
        await check_others_are_served(server)

    play_grpc(scenario, receive_timeout_seconds=0.3)
