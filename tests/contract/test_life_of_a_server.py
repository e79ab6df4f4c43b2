"""Leaving clients, full queues, deadlines, lost engines: nothing hangs, nothing leaks."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import grpc
import pytest
from grpc_health.v1 import health_pb2
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from tests.contract.callers import Caller, Callers
from tests.contract.live_server import (
    PATIENCE_SECONDS,
    Server,
    StartServer,
    health_stub,
    is_gone,
    raw_request,
    wait_until,
)

# Some seconds of work on any machine: `tests.slow_answers`.
LONG = {"prompt": "x", "max_tokens": 4000, "ignore_eos": True, "temperature": 1.0}


def cancelled_count(server: Server) -> float:
    lines = server.get("/metrics").text.splitlines()
    samples = [line for line in lines if line.startswith("nextword_requests_total")]
    return sum(float(line.rpartition(" ")[2]) for line in samples if '"cancelled"' in line)


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_rest_client_that_leaves_frees_its_slot(server: Server, is_streamed: bool) -> None:
    """H66, H67, interfaces 26: by a reset of the connection, streamed or not."""
    before = cancelled_count(server)
    connection = raw_request(server, LONG | {"stream": is_streamed})
    wait_until(lambda: server.metric("nextword_engine_running") == 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    wait_until(lambda: cancelled_count(server) == before + 1)
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


def test_a_cancelled_grpc_stream_frees_its_slot(server: Server) -> None:
    """H68, interfaces 35."""
    before = cancelled_count(server)
    with grpc.insecure_channel(server.grpc) as channel:
        parameters = pb.SamplingParameters(max_tokens=4000, ignore_eos=True)
        stream = TextGenerationServiceStub(channel).StreamGenerateText(
            pb.StreamGenerateTextRequest(prompt="x", parameters=parameters)
        )
        next(stream)
        stream.cancel()
        wait_until(lambda: cancelled_count(server) == before + 1)
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


def test_deadlines_of_both_protocols_end_the_request(server: Server, call: Caller) -> None:
    """H95."""
    outcome = call(server, LONG | {"timeout_seconds": 0.2})
    assert outcome.code == "deadline_exceeded"
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


def test_a_calls_own_deadline_ends_it_and_counts_as_deadline(server: Server) -> None:
    """Interfaces 34."""
    name = 'nextword_requests_total{model="tiny",outcome="deadline_exceeded",protocol="grpc"'
    before = server.metric(name)
    with grpc.insecure_channel(server.grpc) as channel:
        parameters = pb.SamplingParameters(max_tokens=4000, ignore_eos=True)
        request = pb.GenerateTextRequest(prompt="x", parameters=parameters)
        with pytest.raises(grpc.RpcError) as error:
            TextGenerationServiceStub(channel).GenerateText(request, timeout=0.3)
        assert cast("grpc.Call", error.value).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: server.metric(name) == before + 1)
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


def test_a_full_queue_refuses_at_once_and_says_when_to_retry(
    server: Server, callers: Callers
) -> None:
    """H94: four run, eight wait, the thirteenth is refused over both protocols."""
    connections = [raw_request(server, LONG) for _ in range(12)]
    wait_until(lambda: server.metric("nextword_requests_in_flight") == 12)
    response = server.post("/v1/generate", LONG)
    assert response.status_code == 429
    assert 1 <= int(response.headers["retry-after"]) <= 120
    for call in callers.values():
        outcome = call(server, LONG)
        assert outcome.code == "server_overloaded"
        assert outcome.status in (429, "RESOURCE_EXHAUSTED")
    for connection in connections:
        connection.close()
    wait_until(lambda: server.metric("nextword_requests_in_flight") == 0)
    wait_until(lambda: server.metric("nextword_engine_waiting") == 0)
    assert callers["rest_whole"](server, {"prompt": "x"}).code is None


def test_neighbours_in_the_batch_do_not_change_a_text(server: Server, callers: Callers) -> None:
    """H48, H49: eight different requests at once give what each gives alone."""
    bodies: list[dict[str, object]] = [
        {"prompt": "x" * size, "max_tokens": 40, "seed": size, "temperature": size % 3 / 2}
        for size in range(1, 9)
    ]
    alone = [callers["rest_whole"](server, body).token_ids for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(callers["grpc_stream"], server, body) for body in bodies]
    assert [future.result().token_ids for future in running] == alone


def test_probes_are_answered_while_the_engine_is_full(server: Server) -> None:
    """H102: four streams run and eight wait; no probe waits for any of them."""
    connections = [raw_request(server, LONG | {"stream": True}) for _ in range(12)]
    wait_until(lambda: server.metric("nextword_requests_in_flight") == 12)
    with grpc.insecure_channel(server.grpc) as channel:
        for _ in range(20):
            assert server.get("/livez").status_code == 200
            assert server.get("/readyz").status_code == 200
            answer = health_stub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS
            )
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    # All the while.
    assert server.metric("nextword_engine_running") == 4
    for connection in connections:
        connection.close()
    wait_until(lambda: server.metric("nextword_requests_in_flight") == 0)


def test_a_lost_engine_is_answered_for_and_replaced(
    start_server: StartServer, callers: Callers
) -> None:
    """H99, H101, H108: killed or frozen, every waiting client has an answer, and the server is
    ready again; when the front is killed, the engine ends by itself.
    """
    server = start_server()
    for num_before, number in enumerate((signal.SIGKILL, signal.SIGSTOP)):
        lose_engine(server, callers, number)
        assert server.metric("nextword_engine_restarts") == num_before + 1
    engine = server.engine_process_id()
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: is_gone(engine))


def lose_engine(server: Server, callers: Callers, number: signal.Signals) -> None:
    """Send the engine a signal under load, and see that it is replaced."""
    before = callers["rest_whole"](server, {"prompt": "x", "seed": 1})
    engine = server.engine_process_id()
    with grpc.insecure_channel(server.grpc) as channel, ThreadPoolExecutor(4) as pool:
        watch = health_stub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=120)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        running = [pool.submit(call, server, LONG) for call in callers.values()]
        wait_until(lambda: server.metric("nextword_engine_running") == 4)
        os.kill(engine, number)
        for name, future in zip(callers, running, strict=True):
            assert future.result(PATIENCE_SECONDS).code == "engine_unavailable", name
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
    assert server.engine_process_id() != engine
    assert callers["grpc_whole"](server, {"prompt": "x", "seed": 1}).text == before.text
