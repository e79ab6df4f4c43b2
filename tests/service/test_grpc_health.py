"""Watches of health: each is told, whatever the others do."""

from typing import cast

import grpc
from grpc_health.v1 import health_pb2

from tests.service.grpc_connections import RunningGrpcServer, play_grpc
from tests.service.raw_http2 import (
    DATA,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    call_frames,
    connected,
    settings,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WATCH = "/grpc.health.v1.Health/Watch"
Watch = grpc.aio.UnaryStreamCall[bytes, bytes]


def watch(channel: grpc.aio.Channel) -> "Watch":
    """A watch of the whole server."""
    return cast("Watch", channel.unary_stream(WATCH)(b""))


async def status(watching: "Watch") -> int:
    """What it is told next."""
    return health_pb2.HealthCheckResponse.FromString(cast("bytes", await watching.read())).status


def test_a_watch_that_reads_nothing_keeps_the_others_from_nothing() -> None:
    """H96: its window is closed, and a status waits for it."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with connected(server) as raw, server.channel() as channel:
            raw.send(settings(INITIAL_WINDOW_SIZE, 0))
            raw.send(call_frames(1, b"", method="Watch", service="grpc.health.v1.Health"))
            await raw.until(HEADERS)
            watching = watch(channel)
            assert await status(watching) == SERVING
            server.health.become(is_ready=False)
            assert await status(watching) == NOT_SERVING
            # It missed nothing but what is over.
            raw.send(settings(INITIAL_WINDOW_SIZE, 100))
            told = [(await raw.until(DATA))[5:] for _ in range(2)]
            assert [health_pb2.HealthCheckResponse.FromString(each).status for each in told] == [
                SERVING,
                NOT_SERVING,
            ]
            watching.cancel()

    play_grpc(scenario)


def test_a_watch_that_leaves_takes_none_with_it() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            staying, leaving = watch(channel), watch(channel)
            assert await status(staying) == await status(leaving) == SERVING
            leaving.cancel()
            for is_ready, expected in ((False, NOT_SERVING), (True, SERVING)):
                server.health.become(is_ready=is_ready)
                assert await status(staying) == expected
            staying.cancel()

    play_grpc(scenario)


def test_a_watch_is_told_of_changes_only() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            watching = watch(channel)
            assert await status(watching) == SERVING
            server.health.become(is_ready=True)
            server.health.become(is_ready=False)
            assert await status(watching) == NOT_SERVING
            watching.cancel()

    play_grpc(scenario)
