"""A client that stops reading pauses its own request and nothing else (H69); drains wait for it."""

import json
import signal
import socket
import threading
import time

import grpc
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from tests.contract.callers import Callers
from tests.contract.live_server import Server, StartServer, raw_request

PATIENCE_SECONDS = 60.0
NUM_TOKENS = 800
STEPS = "nextword_engine_step_seconds_count{"


def wait_until_paused(server: Server) -> None:
    """Return when the only request is still open and the engine computes nothing for it."""
    end = time.monotonic() + PATIENCE_SECONDS
    before, num_same = -1.0, 0
    while num_same < 6:
        assert time.monotonic() < end
        threading.Event().wait(0.03)
        steps = server.metric(STEPS)
        # The request itself must have begun.
        num_same = num_same + 1 if steps == before and steps > 0 else 0
        before = steps
    assert server.metric("nextword_requests_in_flight{") == 1


def test_rest(server: Server, callers: Callers) -> None:
    """Its neighbours are served meanwhile; once it reads again it gets everything."""
    began = server.metric("nextword_completion_tokens_total{")
    body = {"prompt": "x", "max_tokens": NUM_TOKENS, "ignore_eos": True, "logprobs": 20}
    content = json.dumps(body | {"stream": True}).encode()
    host, _, port = server.rest.removeprefix("http://").partition(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.connect((host, int(port)))
        head = "POST /v1/generate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        wait_until_paused(server)
        assert callers["grpc_stream"](server, {"prompt": "y", "max_tokens": 5}).code is None
        connection.settimeout(PATIENCE_SECONDS)
        received = b""
        while piece := connection.recv(1 << 16):
            received += piece
    assert received.rstrip().endswith(b"data: [DONE]\n\n\r\n0")
    assert b'"completion_tokens":%d' % NUM_TOKENS in received
    assert server.metric("nextword_completion_tokens_total{") - began == NUM_TOKENS + 5


def test_grpc(server: Server, callers: Callers) -> None:
    """The same by the window of HTTP/2."""
    parameters = pb.SamplingParameters(max_tokens=NUM_TOKENS, ignore_eos=True, logprobs=20)
    request = pb.StreamGenerateTextRequest(prompt="x", parameters=parameters)
    with grpc.insecure_channel(server.grpc, options=[("grpc.http2.bdp_probe", 0)]) as channel:
        stream = TextGenerationServiceStub(channel).StreamGenerateText(
            request, timeout=PATIENCE_SECONDS
        )
        first = next(stream)
        wait_until_paused(server)
        assert callers["rest_whole"](server, {"prompt": "y", "max_tokens": 5}).code is None
        num_tokens = len(first.token_ids) + sum(len(message.token_ids) for message in stream)
    assert num_tokens == NUM_TOKENS


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


def test_an_answer_that_is_still_being_read_is_not_cut_by_a_drain(
    start_server: StartServer,
) -> None:
    """H100: all is computed, its bytes are with us."""
    server = start_server("--drain-timeout", "60")
    with large_answer_queued(server) as connection:
        server.process.send_signal(signal.SIGTERM)
        length, num_received = read_slowly(connection, pause_seconds=0.1)
        assert num_received == length > 400_000
    assert server.process.wait(PATIENCE_SECONDS) == 0


def test_an_answer_that_nobody_reads_is_cut_when_the_drain_is_over(
    start_server: StartServer,
) -> None:
    """H100: the control of the test above, and nobody can hold up a server that leaves."""
    server = start_server("--drain-timeout", "0")
    with large_answer_queued(server) as connection:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        length, num_received = read_slowly(connection, pause_seconds=0)
        assert num_received < length
