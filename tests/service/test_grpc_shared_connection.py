"""Calls that share a connection: none disturbs another, and the room of all is given back."""

from collections.abc import Callable

import grpc
import pytest

from tests.service.grpc_connections import (
    FLOOD,
    SERVICE,
    WAIT,
    RunningGrpcServer,
    error_of,
    frame,
    generate,
    headers_frame,
    play_grpc,
)
from tests.service.raw_http2 import (
    CANCEL,
    DATA,
    END_STREAM,
    GOAWAY,
    REFUSED_STREAM,
    RESET,
    WINDOW,
    call_frames,
    connected,
    window,
)

FLOODED = FLOOD.SerializeToString()
WAITING = WAIT.SerializeToString()
# What a connection's window begins with (RFC 9113, 6.9.2).
CONNECTION_WINDOW = 65_535
MESSAGE_BYTES = 1000


def test_a_call_that_is_taken_back_disturbs_no_other() -> None:
    """Its room, its end and the head of the next one in a single read."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(call_frames(1, FLOODED), call_frames(3, FLOODED))
            await server.core.wait_until(lambda: server.core.num_started == 2)
            raw.send(
                window(1, 1000),
                frame(RESET, 0, 1, CANCEL),
                call_frames(5, FLOODED),
                window(0, 2**20),
            )
            found: set[int] = set()
            while not found >= {3, 5}:
                kind, stream, payload = await raw.next()
                assert kind != GOAWAY
                if kind == DATA:
                    found.add(stream)
                    raw.send(window(0, len(payload)))

    play_grpc(scenario)


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [("content-type", "text/plain", "415"), (":method", "GET", "405")],
)
def test_what_is_no_call_is_answered_and_let_go(field: str, value: str, status: str) -> None:
    """Also where it is taken back in the same read, left open by its client, or has no data."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            head = {field: value}
            raw.send(headers_frame(1, "X", head), frame(RESET, 0, 1, CANCEL))
            raw.send(headers_frame(3, "X", head), headers_frame(5, "X", head, is_last=True))
            raw.send(call_frames(7, WAITING))
            for stream in (1, 3, 5):
                assert await raw.headers() == (stream, {":status": status})
            await server.core.wait_until(lambda: server.core.num_started == 1)

    play_grpc(scenario)


def unknown(stream: int) -> bytes:
    """A call of no method."""
    return call_frames(stream, bytes(MESSAGE_BYTES - 5), method="Nothing")


def taken_back(stream: int) -> bytes:
    """A call whose message nobody has read when it ends."""
    data = frame(DATA, 0, stream, bytes(MESSAGE_BYTES)) + frame(RESET, 0, stream, CANCEL)
    return headers_frame(stream, "StreamGenerateText") + data


def with_more(stream: int) -> bytes:
    """A watch of health that goes on after its one, empty message."""
    head = headers_frame(stream, "Watch", service="grpc.health.v1.Health")
    return head + frame(DATA, 0, stream, bytes(MESSAGE_BYTES))


@pytest.mark.parametrize("frames_of", [unknown, taken_back, with_more])
def test_calls_that_nobody_reads_take_no_room_for_long(frames_of: Callable[[int], bytes]) -> None:
    """Or the connection's window would close for good after some of them."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            room = CONNECTION_WINDOW
            for number in range(3 * CONNECTION_WINDOW // MESSAGE_BYTES):
                while room < MESSAGE_BYTES:
                    kind, stream, payload = await raw.next()
                    if (kind, stream) == (WINDOW, 0):
                        room += int.from_bytes(payload, "big")
                raw.send(frames_of(2 * number + 1))
                room -= MESSAGE_BYTES

    play_grpc(scenario)


def test_a_message_far_too_large_leaves_room_for_other_calls() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            for _ in range(3):
                error = await error_of(channel, f"/{SERVICE}/GenerateText", bytes(5 * 1024 * 1024))
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            call = generate(channel, FLOOD)
            await call.read()
            call.cancel()

    play_grpc(scenario)


def test_metadata_above_the_limit_is_refused_and_the_calls_beside_it_go_on() -> None:
    """H81: the limit is the one of REST."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel(("grpc.max_metadata_size", 10**6)) as channel:
            beside = generate(channel, FLOOD)
            await beside.read()
            path, request_id = f"/{SERVICE}/GenerateText", "x" * 40_000
            error = await error_of(channel, path, b"", request_id=request_id)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "at most 32768 are read" in str(error.details())
            error = await error_of(channel, path, b"\xff", request_id="x" * 20_000)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            await beside.read()
            beside.cancel()

    play_grpc(scenario)


def test_calls_with_long_headers_share_what_a_connection_may_hold() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            fields = {f"x-{number}": "x" * 100 for number in range(100)}
            for stream in range(1, 1401, 2):
                raw.send(call_frames(stream, WAITING, fields))
            await raw.until(RESET, lambda reason: reason == REFUSED_STREAM.to_bytes(4, "big"))
            assert server.core.num_started > 500
            # What ends gives back what it held.
            raw.send(*[frame(RESET, 0, stream, CANCEL) for stream in range(1, 101, 2)])
            await server.core.wait_until(lambda: server.core.num_left == 50)
            num_started = server.core.num_started
            raw.send(call_frames(1401, WAITING, fields))
            await server.core.wait_until(lambda: server.core.num_started == num_started + 1)

    play_grpc(scenario)


def test_bytes_that_are_no_message_are_told_and_leave_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Health needs no key, so anybody could write the log full."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            for method in ("Check", "Watch"):
                error = await error_of(channel, f"/grpc.health.v1.Health/{method}", b"\xff\xff")
                assert error.code() is grpc.StatusCode.INTERNAL

    play_grpc(scenario)
    assert not caplog.records


def test_as_many_calls_begin_at_once_as_are_announced_and_more_are_refused() -> None:
    """Before the client can know how many, and each refused alone."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(*[call_frames(2 * number + 1, WAITING) for number in range(1026)])
            for stream in (2049, 2051):
                while await raw.next() != (RESET, stream, REFUSED_STREAM.to_bytes(4, "big")):
                    pass
            await server.core.wait_until(lambda: server.core.num_started == 1024)

    play_grpc(scenario, max_open_requests=2000)


def test_a_deadline_that_is_over_at_once_is_told_as_such() -> None:
    """Whatever the grain of the clocks."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            for number in range(40):
                stream, timeout = 2 * number + 1, f"{25 * number}u"
                raw.send(call_frames(stream, WAITING, {"grpc-timeout": timeout}))
                assert await raw.status() == (stream, "4")

    play_grpc(scenario)


def test_a_message_that_ends_too_early_is_none() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw:
            raw.send(
                headers_frame(1, "GenerateText"), frame(DATA, END_STREAM, 1, b"\0\0\0\0\x09ab")
            )
            assert await raw.status() == (1, "13")

    play_grpc(scenario)
