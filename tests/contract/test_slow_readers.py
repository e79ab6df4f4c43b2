"""A client that stops reading pauses its own request and nothing else (H69)."""

import json
import socket
import threading
import time

import grpc
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from tests.contract.callers import Callers
from tests.contract.live_server import Server

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
