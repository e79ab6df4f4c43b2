"""gRPC connections that grow old: asked to leave, their calls in peace or with a last moment."""

import asyncio
from typing import cast

import grpc
import pytest
from nextword.v1 import text_generation_pb2 as pb

from tests.service.grpc_connections import SERVICE, RunningGrpcServer, play_grpc
from tests.service.http_connections import PATIENCE_SECONDS

AGE_SECONDS = 0.2


def stream(channel: grpc.aio.Channel, prompt: str) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    """An open stream, whose answers nobody needs parsed."""
    message = pb.StreamGenerateTextRequest(prompt=prompt).SerializeToString()
    return cast(
        "grpc.aio.UnaryStreamCall[bytes, bytes]",
        channel.unary_stream(f"/{SERVICE}/StreamGenerateText")(message),
    )


async def wait_asked_to_leave(channel: grpc.aio.Channel) -> None:
    """Return when the server has said that this connection takes no more calls."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while channel.get_state() is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)


def test_calls_of_an_old_connection_go_on_and_new_ones_take_another() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            old = stream(channel, "flood")
            await old.read()
            await wait_asked_to_leave(channel)
            sent_by_then = server.core.num_sent_bytes
            # More than can have been on its way when the connection was given up.
            while server.core.num_sent_bytes < sent_by_then + (4 << 20):
                assert await old.read() is not grpc.aio.EOF
            new = stream(channel, "flood")
            assert await new.read() is not grpc.aio.EOF
            assert channel.get_state() is grpc.ChannelConnectivity.READY
            assert (server.core.num_started, server.core.num_left) == (2, 0)
            old.cancel()
            new.cancel()

    play_grpc(scenario, max_connection_age_seconds=AGE_SECONDS)


def test_a_call_that_outlasts_the_grace_is_cut_and_costs_nothing_any_more() -> None:
    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            call = stream(channel, "wait")
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call.read()
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            await server.core.wait_until(lambda: server.core.num_left == 1)

    play_grpc(
        scenario,
        max_connection_age_seconds=AGE_SECONDS,
        max_connection_age_grace_seconds=AGE_SECONDS,
    )
