"""gRPC connections that flood, hold back or leave: what each costs, and what it is told."""

import asyncio
from typing import cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import text_generation_pb2 as pb

from service.transport_limits import MAX_MESSAGE_BYTES
from tests.service.grpc_connections import (
    LARGE_BYTES,
    SERVICE,
    RunningGrpcServer,
    frame,
    headers_frame,
    play_grpc,
)
from tests.service.http_connections import PATIENCE_SECONDS

FLOOD = pb.StreamGenerateTextRequest(prompt="flood")
WAIT = pb.StreamGenerateTextRequest(prompt="wait")


def generate(
    channel: grpc.aio.Channel, message: pb.StreamGenerateTextRequest
) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    """An open stream, whose answers nobody needs parsed."""
    return cast(
        "grpc.aio.UnaryStreamCall[bytes, bytes]",
        channel.unary_stream(f"/{SERVICE}/StreamGenerateText")(message.SerializeToString()),
    )


async def error_of(
    channel: grpc.aio.Channel,
    path: str,
    data: bytes,
    *,
    request_id: str | None = None,
    compression: grpc.Compression | None = None,
) -> grpc.aio.AioRpcError:
    """What a call of raw bytes is told."""
    metadata = () if request_id is None else (("x-request-id", request_id),)
    call = cast(
        "grpc.aio.UnaryUnaryCall[bytes, bytes]",
        channel.unary_unary(path)(data, metadata=metadata, compression=compression),
    )
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def read_all(call: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in an error's details."""
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(cast("bytes", details))
    for packed in status.details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            return info.reason
    return ""


@pytest.mark.parametrize("way", ["cancel", "close the channel"])
@pytest.mark.parametrize("request_message", [FLOOD, WAIT], ids=["streaming", "silent"])
def test_a_client_that_leaves_closes_its_stream_at_once(
    request_message: pb.StreamGenerateTextRequest, way: str
) -> None:
    """H68, interfaces 35: RST_STREAM, or the end of the connection."""

    async def scenario(server: RunningGrpcServer) -> None:
        channel = server.channel()
        call = generate(channel, request_message)
        await server.core.wait_until(lambda: server.core.num_started == 1)
        if way == "cancel":
            call.cancel()
        else:
            await channel.close()
        await server.core.wait_until(lambda: server.core.num_left == 1)
        await asyncio.wait_for(server.log.wait_all_closed(), PATIENCE_SECONDS)
        labels = {"protocol": "grpc", "route": "StreamGenerateText", "model": "none"}
        assert server.count("nextword_requests_total", outcome="cancelled", **labels) == 1
        await channel.close()

    play_grpc(scenario)


def test_a_thousand_cancelled_streams_leave_no_task_behind() -> None:
    """Interfaces 35; H79: cancelled at every moment from before their start to their midst."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            first = generate(channel, FLOOD)
            await first.read()
            first.cancel()
            before = len(asyncio.all_tasks())
            for round_number in range(10):
                calls = [generate(channel, FLOOD) for _ in range(100)]
                for number, call in enumerate(calls):
                    if number % 4 == round_number % 4:
                        await call.read()
                    call.cancel()
            await server.core.wait_until(lambda: server.core.num_started == server.core.num_left)
            async with asyncio.timeout(PATIENCE_SECONDS):
                # The library's own tasks tell nobody when they end.
                while len(asyncio.all_tasks()) > before + 5:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    play_grpc(scenario, max_open_requests=10_000)


def test_a_client_that_stops_reading_holds_little_and_not_for_long() -> None:
    """H69: the window of HTTP/2 bounds what is written; the call ends and says why."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel(("grpc.http2.bdp_probe", 0)) as channel:
            call = generate(channel, FLOOD)
            await call.read()
            await server.core.wait_until(lambda: server.core.num_left == 1)
            assert server.core.num_sent_bytes < 1024 * 1024
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await read_all(call)
            assert reason_of(error.value) == "READER_TOO_SLOW"

    play_grpc(scenario, stall_timeout_seconds=0.5)


def test_a_message_at_the_limit_is_read_and_one_byte_more_is_not() -> None:
    """H85: also where compression hides its size."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel(("grpc.max_send_message_length", -1)) as channel:
            path = f"/{SERVICE}/GetModel"
            for compression in (None, grpc.Compression.Gzip):
                for size, status in (
                    (MAX_MESSAGE_BYTES, "INVALID_ARGUMENT"),
                    (MAX_MESSAGE_BYTES + 1, "RESOURCE_EXHAUSTED"),
                ):
                    # Bytes of 255 are no message, so that the right size has an error of its own.
                    error = await error_of(channel, path, b"\xff" * size, compression=compression)
                    assert error.code().name == status
                    reason = "INVALID_VALUE" if size == MAX_MESSAGE_BYTES else "REQUEST_TOO_LARGE"
                    assert reason_of(error) == reason
            bomb = b"\0" * (64 * MAX_MESSAGE_BYTES)
            error = await error_of(channel, path, bomb, compression=grpc.Compression.Gzip)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    play_grpc(scenario)


def test_more_calls_than_the_limit_are_refused_by_our_own_admission() -> None:
    """H84."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            calls = [generate(channel, WAIT) for _ in range(3)]
            await server.core.wait_until(lambda: server.core.num_started == 3)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await generate(channel, WAIT).read()
            assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert reason_of(error.value) == "SERVER_OVERLOADED"
            for call in calls:
                call.cancel()

    play_grpc(scenario, max_open_requests=3)


def test_an_unknown_method_has_the_one_error_and_a_request_id() -> None:
    """H43, H90."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            for path in (f"/{SERVICE}/Nothing", "/nobody/Nothing"):
                error = await error_of(channel, path, b"", request_id="mine")
                assert error.code() is grpc.StatusCode.UNIMPLEMENTED
                assert reason_of(error) == "UNKNOWN_URL"
                assert dict(error.initial_metadata())["x-request-id"] == "mine"
            labels = {"rpc_system_name": "grpc", "rpc_method": "other"}
            labels |= {"rpc_response_status_code": "UNIMPLEMENTED", "error_type": "unknown_url"}
            assert server.count("rpc_server_call_duration_seconds_count", **labels) == 2

    play_grpc(scenario)


@pytest.mark.parametrize("given", ["x" * 65, "a b", "", "a" * 10_000])
def test_a_request_id_that_could_do_harm_is_replaced(given: str) -> None:
    """H43."""

    async def scenario(server: RunningGrpcServer) -> None:
        async with server.channel() as channel:
            error = await error_of(channel, f"/{SERVICE}/GetModel", b"\xff", request_id=given)
            assert error.code() is not grpc.StatusCode.OK
            metadata = dict(error.initial_metadata())
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                assert str(metadata["x-request-id"]).startswith("req-")

    play_grpc(scenario)


def test_resets_in_quick_succession_cost_the_others_nothing() -> None:
    """H83: calls are opened and reset on one connection as fast as it takes them."""

    async def scenario(server: RunningGrpcServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        cancel = (8).to_bytes(4, "big")
        for number in range(1, 8001, 2):
            writer.write(headers_frame(number, "StreamGenerateText") + frame(3, 0, number, cancel))
        async with server.channel() as channel:
            call = generate(channel, WAIT)
            await server.core.wait_until(lambda: server.core.num_started >= 1)
            call.cancel()
        writer.close()
        del reader
        await asyncio.wait_for(server.log.wait_all_closed(), PATIENCE_SECONDS)
        assert server.core.num_started <= 1 + 1024

    play_grpc(scenario)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)


def test_an_answer_counts_as_delivered_only_when_the_window_has_let_it_through() -> None:
    """H100: the record ends before; what a drain waits for does not."""

    async def scenario(server: RunningGrpcServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        message = pb.GenerateTextRequest(prompt="large").SerializeToString()
        body = b"\0" + len(message).to_bytes(4, "big") + message
        writer.write(PREFACE + headers_frame(1, "GenerateText") + frame(0, 1, 1, body))
        labels = {"protocol": "grpc", "route": "GenerateText", "model": "none"}
        await server.core.wait_until(lambda: server.core.num_left == 1)
        await asyncio.wait_for(server.log.wait_all_closed(), PATIENCE_SECONDS)
        assert server.count("nextword_requests_total", outcome="ok", **labels) == 1
        delivered = asyncio.create_task(server.server.wait_delivered())
        received = 0
        # The windows that HTTP/2 begins with.
        while received < 65_535:
            received += await data_frame(reader)
        assert not delivered.done()
        more = (16 * LARGE_BYTES).to_bytes(4, "big")
        writer.write(frame(8, 0, 0, more) + frame(8, 0, 1, more))
        while received < LARGE_BYTES:
            received += await data_frame(reader)
        await asyncio.wait_for(delivered, PATIENCE_SECONDS)
        writer.close()

    play_grpc(scenario)


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
