"""gRPC answers on their way through the window of HTTP/2, and connections without any."""

import asyncio
from typing import cast

import grpc
import pytest
from nextword.v1 import text_generation_pb2 as pb

from service.grpc_api import calls
from service.large_answers import AnswerMemory
from tests.service.grpc_connections import (
    LARGE_BYTES,
    PREFACE,
    SERVICE,
    RunningGrpcServer,
    error_of,
    frame,
    generate,
    headers_frame,
    play_grpc,
    reason_of,
)
from tests.service.http_connections import PATIENCE_SECONDS

WAIT = pb.StreamGenerateTextRequest(prompt="wait")
LARGE_LABELS = {"protocol": "grpc", "route": "GenerateText", "model": "none"}


def test_an_answer_counts_as_delivered_only_when_the_window_has_let_it_through() -> None:
    """H100: neither its record nor what a drain waits for ends before."""

    async def scenario(server: RunningGrpcServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(PREFACE + large_call(1))
        received = 0
        # The windows that HTTP/2 begins with.
        while received < 65_535:
            received += await data_frame(reader)
        delivered = asyncio.create_task(server.server.wait_delivered())
        assert server.core.num_left == server.log.num_open == 1
        assert not delivered.done()
        more = (16 * LARGE_BYTES).to_bytes(4, "big")
        writer.write(frame(8, 0, 0, more) + frame(8, 0, 1, more))
        while received < LARGE_BYTES:
            received += await data_frame(reader)
        await asyncio.wait_for(delivered, PATIENCE_SECONDS)
        assert server.log.num_open == 0
        assert server.count("nextword_requests_total", outcome="ok", **LARGE_LABELS) == 1
        writer.close()

    play_grpc(scenario)


def test_answers_that_nobody_reads_are_bounded_and_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H69, H96: while one waits another is refused; what was given up takes no room."""
    monkeypatch.setattr(calls, "ANSWER_MEMORY", AnswerMemory(LARGE_BYTES + LARGE_BYTES // 2))

    async def scenario(server: RunningGrpcServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(PREFACE + large_call(1))
        received = 0
        while received < 65_535:
            received += await data_frame(reader)
        message = pb.GenerateTextRequest(prompt="large").SerializeToString()

        async def is_refused(channel: grpc.aio.Channel) -> None:
            error = await error_of(channel, f"/{SERVICE}/GenerateText", message)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert reason_of(error) == "SERVER_OVERLOADED"

        async with server.channel() as channel:
            await is_refused(channel)
            await asyncio.wait_for(server.log.wait_all_closed(), PATIENCE_SECONDS)
            outcome = "reader_too_slow"
            assert server.count("nextword_requests_total", outcome=outcome, **LARGE_LABELS) == 1
            # What was given up is not kept.
            await asyncio.wait_for(server.server.wait_delivered(), PATIENCE_SECONDS)
            call = cast(
                "grpc.aio.UnaryUnaryCall[bytes, bytes]",
                channel.unary_unary(f"/{SERVICE}/GenerateText")(message),
            )
            answer = pb.GenerateTextResponse.FromString(await call)
            writer.close()
        assert [len(choice.text) for choice in answer.choices] == [LARGE_BYTES]

    # The time of a steady reader is given beside the patience with one who stands still.
    play_grpc(scenario, stall_timeout_seconds=0.5, min_answer_bytes_per_second=2 * LARGE_BYTES)


def large_call(stream: int) -> bytes:
    """A call whose answer is large, as frames."""
    message = pb.GenerateTextRequest(prompt="large").SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return headers_frame(stream, "GenerateText") + frame(0, 1, stream, body)


async def data_frame(reader: asyncio.StreamReader) -> int:
    """Read one frame; how much of an answer was in it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        start = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(start[:3], "big"))
    return len(payload) if start[3] == 0 else 0


@pytest.mark.parametrize("start", [b"", PREFACE], ids=["silent", "idle"])
def test_a_connection_without_calls_is_closed_and_one_with_a_call_is_not(start: bytes) -> None:
    """H92: they are not counted, so they may not stay."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            call = generate(channel, WAIT)
            await server.core.wait_until(lambda: server.core.num_started == 1)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(start)
            await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
            assert not call.done()
            call.cancel()
            writer.close()

    play_grpc(scenario, receive_timeout_seconds=0.3, idle_timeout_seconds=0.3)
