"""Signals to a server: for the drain time, what runs is let end, and what is computed be read."""

import json
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx2
from grpc_health.v1 import health_pb2

from tests.contract.callers import Callers
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
# Several times as much JSON as the buffers of both kernels hold.
LARGE = {"prompt": "x", "n": 4, "max_tokens": 100, "ignore_eos": True, "logprobs": 20}


def large_answer_queued(server: Server) -> socket.socket:
    """A connection whose answer is finished, but for its first bytes still with us."""
    connection = raw_request(server, LARGE)
    connection.settimeout(PATIENCE_SECONDS)
    # The head comes when the answer is there as a whole.
    connection.recv(1, socket.MSG_PEEK)
    assert server.metric("nextword_engine_running{") == 0
    return connection


def read_slowly(connection: socket.socket, *, pause_seconds: float) -> tuple[int, int]:
    """The length that an answer says it has, and how much of it came."""
    received = b""
    try:
        while piece := connection.recv(1 << 15):
            received += piece
            head, _, body = received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            if len(body) == length:
                break
            threading.Event().wait(pause_seconds)
    except ConnectionError:
        pass
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]), len(body)


def test_sigterm_lets_running_streams_end_and_refuses_new_ones(
    start_server: StartServer, callers: Callers
) -> None:
    """H100, H105, H110, interfaces 48: also where every process of the service is told to end.

    An answer that is computed and still being read is not cut either.
    """
    server = start_server("--drain-timeout", "60")
    body = {"prompt": "x", "max_tokens": 500, "ignore_eos": True, "seed": 5}
    expected = callers["rest_whole"](server, body)
    with (
        grpc.insecure_channel(server.grpc) as channel,
        ThreadPoolExecutor(5) as pool,
        large_answer_queued(server) as unread,
    ):
        watch = health_stub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=120)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        running = [pool.submit(call, server, body) for call in callers.values()]
        wait_until(lambda: server.metric("nextword_engine_running") == 4)
        engine = server.engine_process_id()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(engine, number)
        server.process.send_signal(signal.SIGTERM)
        reading = pool.submit(read_slowly, unread, pause_seconds=0.1)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        ready = server.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
        assert ready.headers["connection"] == "close"
        assert server.get("/livez").status_code == 200
        assert callers["rest_stream"](server, body).code == "draining"
        assert callers["grpc_whole"](server, body).code == "draining"
        for future in running:
            outcome = future.result(PATIENCE_SECONDS)
            assert outcome.token_ids == expected.token_ids
            assert outcome.finish_reason == "length"
        length, num_received = reading.result(PATIENCE_SECONDS)
        assert num_received == length > 400_000
    assert server.process.wait(PATIENCE_SECONDS) == 0
    assert is_gone(engine)


def test_what_outlasts_the_drain_gets_an_explicit_end(start_server: StartServer) -> None:
    """H106; H100: and an answer that nobody reads is cut, not waited for for ever."""
    server = start_server("--drain-timeout", "0.2")
    unread = large_answer_queued(server)
    with httpx2.stream(
        "POST", server.rest + "/v1/generate", json=LONG | {"stream": True}, timeout=60
    ) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        events = [line for line in lines if line]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "draining"
    assert server.process.wait(PATIENCE_SECONDS) == 0
    with unread:
        length, num_received = read_slowly(unread, pause_seconds=0)
    assert num_received < length


def test_a_second_signal_ends_the_server_promptly(start_server: StartServer) -> None:
    """H107: no orphan, no held port, 128 + the signal's number."""
    server = start_server("--drain-timeout", "600")
    engine = server.engine_process_id()
    connection = raw_request(server, LONG)
    wait_until(lambda: server.metric("nextword_engine_running") == 1)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz").status_code == 503)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGINT
    connection.close()
    wait_until(lambda: is_gone(engine))
