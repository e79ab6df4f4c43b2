"""gRPC connections that flood, hold back or leave: what each costs, and what it is told."""

import asyncio

import grpc
import pytest
from nextword.v1 import text_generation_pb2 as pb

from service.transport_limits import MAX_MESSAGE_BYTES
from tests.service.grpc_connections import (
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

FLOOD = pb.StreamGenerateTextRequest(prompt="flood")
WAIT = pb.StreamGenerateTextRequest(prompt="wait")


async def read_all(call: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


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
        # Windows that do not grow, or hundreds of mebibytes would come with what is cancelled.
        async with server.channel(("grpc.http2.bdp_probe", 0)) as channel:
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
                # Tasks tell nobody when they end.
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
