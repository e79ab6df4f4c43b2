"""Servers of both protocols that answer as a test scripts it, and a wire that a test can cut."""

import contextlib
import json
import select
import socket
import ssl
import struct
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import grpc
import msgspec
from nextword.v1 import text_generation_pb2 as pb

from service.errors import RequestError
from service.grpc_api.errors import status_message, status_metadata
from service.rest_api.errors import error_body, error_headers

__all__ = ["Answer", "Certificate", "Script", "Wire", "cut_wire", "scripted_grpc", "scripted_rest"]

METHOD = "/nextword.v1.TextGenerationService/StreamGenerateText"


@dataclass(frozen=True)
class Answer:
    """One answer to a request for a stream.

    Attributes:
        texts: Its pieces.
        error: What follows them; before the first piece it is an ordinary refusal.
        nonsense: What follows them and is no message.
        is_whole: Whether the summary follows.
    """

    texts: Sequence[str] = ()
    error: RequestError | None = None
    nonsense: bytes = b""
    is_whole: bool = True


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as files."""

    chain: Path
    key: Path


class Script:
    """Answers in their order; the last one stays."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._remaining = list(answers)
        self.num_requests = 0

    def next(self) -> Answer:
        self.num_requests += 1
        return self._remaining.pop(0) if len(self._remaining) > 1 else self._remaining[0]


@contextlib.contextmanager
def scripted_rest(script: Script, certificate: Certificate | None = None) -> Generator[str]:
    """A server of REST; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            answer = script.next()
            if answer.error is not None and not answer.texts:
                self._refuse(answer.error)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in _events(answer):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.write(b"0\r\n\r\n")

        def _refuse(self, error: RequestError) -> None:
            body = msgspec.json.encode(error_body(error))
            self.send_response(error.kind.http_status)
            for name, value in error_headers(error).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{'http' if certificate is None else 'https'}://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _events(answer: Answer) -> Iterator[bytes]:
    for text in answer.texts:
        yield _event({"index": 0, "text": text, "token_ids": [1]})
    if answer.nonsense:
        yield b"data: " + answer.nonsense + b"\n\n"
    elif answer.error is not None:
        yield _event(error_body(answer.error))
    elif answer.is_whole:
        summary: dict[str, object] = {
            "id": "r",
            "model": "m",
            "model_version": "1",
            "parameters": {},
        }
        summary["timings"] = {"queue_seconds": 0, "total_seconds": 1}
        summary["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        last: dict[str, object] = {
            "index": 0,
            "text": "",
            "token_ids": [],
            "finish_reason": "length",
        }
        yield _event(last | summary)
        yield b"data: [DONE]\n\n"


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@contextlib.contextmanager
def scripted_grpc(script: Script, certificate: Certificate | None = None) -> Generator[str]:
    """A server of gRPC; its URL."""

    def answer_stream(request: bytes, context: Any) -> Iterator[bytes]:
        del request
        answer = script.next()
        for text in answer.texts:
            yield _message(text=text, token_ids=[1])
        if answer.nonsense:
            yield answer.nonsense
        elif answer.error is not None:
            error = answer.error
            context.set_trailing_metadata(status_metadata(error, request_id="r"))
            context.abort(grpc.StatusCode[error.kind.grpc_status], status_message(error))
        elif answer.is_whole:
            usage = pb.Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
            summary = pb.StreamSummary(id="r", model="m", usage=usage)
            yield _message(finish_reason=pb.FINISH_REASON_LENGTH, summary=summary)

    made_handler: Any = grpc.unary_stream_rpc_method_handler

    class Handlers(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            is_ours = handler_call_details.method == METHOD
            return made_handler(answer_stream) if is_ours else None

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Handlers()])
    if certificate is None:
        port = server.add_insecure_port("localhost:0")
    else:
        pair = (certificate.key.read_bytes(), certificate.chain.read_bytes())
        port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        yield f"{'grpc' if certificate is None else 'grpcs'}://localhost:{port}"
    finally:
        server.stop(None).wait()


def _message(**fields: Any) -> bytes:
    return pb.StreamGenerateTextResponse(index=0, **fields).SerializeToString()


class Wire:
    """What stands between a client and a server, byte for byte, until it is told otherwise.

    Attributes:
        port: Where clients connect.
        sent: What clients said to the server, one connection mixed with another.
    """

    def __init__(self, server_port: int) -> None:
        self.sent = bytearray()
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._num_bytes_left: int | None = None
        self._fault: Literal["stall", "close", "reset"] = "close"
        self._once_sent = b""
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.port: int = self._listener.getsockname()[1]

    def fail(
        self,
        how: Literal["stall", "close", "reset"],
        *,
        after_bytes: int = 0,
        once_sent: bytes = b"",
    ) -> None:
        """Do so from so many further bytes of the server's on; not before a client said this."""
        self._fault = how
        self._once_sent = once_sent
        self._num_bytes_left = after_bytes

    def mend(self) -> None:
        """Carry everything again."""
        self._num_bytes_left = None

    def end(self) -> None:
        """Close everything, and wait for it."""
        self._is_over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._carry, args=(client,)))
            self._threads[-1].start()

    def _carry(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._server_port))
        heard = [client, server]
        with client, server, contextlib.suppress(OSError):
            while not self._is_over.is_set():
                ready, _, _ = select.select(heard, (), (), 0.05)
                if client in ready:
                    data = client.recv(65536)
                    self.sent += data
                    server.sendall(data)
                    if not data:
                        return
                if server in ready:
                    data = server.recv(65536)
                    allowed = self._num_bytes_left if self._once_sent in self.sent else None
                    left = len(data) + 1 if allowed is None else allowed
                    client.sendall(data[:left])
                    if not data or (len(data) >= left and self._fault != "stall"):
                        break
                    if len(data) >= left:
                        heard = [client]
                    elif allowed is not None:
                        self._num_bytes_left = left - len(data)
            if self._fault == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def cut_wire(server_port: int) -> Generator[Wire]:
    """A wire to a server on this machine."""
    wire = Wire(server_port)
    try:
        yield wire
    finally:
        wire.end()
