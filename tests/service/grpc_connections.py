"""Our gRPC server in this process on a real port, around a core that only floods or waits."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import grpc
import pytest
import uvloop
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import text_generation_pb2 as pb

from service.generation import FinishReason, GenerationRequest, Summary, TextPiece, Timings, Usage
from service.grpc_api.server import GrpcServer
from service.health import Health, Verdict
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.parameters import ModelDefaults, RequestedParameters, resolve_parameters
from service.request_log import RequestLog, RequestRecord
from service.text_generator import TextGenerator
from service.transport_limits import TransportLimits
from tests.service.http_connections import PATIENCE_SECONDS

LARGE_BYTES = 1024 * 1024
SERVICE = "nextword.v1.TextGenerationService"
DEFAULTS = ModelDefaults(
    max_tokens=1, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0
)
WAIT = pb.StreamGenerateTextRequest(prompt="wait")
FLOOD = pb.StreamGenerateTextRequest(prompt="flood")
LARGE_PIECE = TextPiece(
    choice=0,
    text="x" * LARGE_BYTES,
    token_ids=(1,),
    finish_reason=FinishReason.LENGTH,
    summary=Summary(
        id="1",
        model="m",
        model_version="1",
        system_fingerprint="",
        usage=Usage(1, 1),
        parameters=resolve_parameters(
            RequestedParameters(seed=1),
            DEFAULTS,
            num_prompt_tokens=1,
            context_tokens=8,
            vocabulary_size=8,
        ),
        timings=Timings(0.0, 0.0, 0.0),
    ),
)


@dataclass
class Core:
    """Continues the prompt "flood" for ever, "large" with a mebibyte, and others not at all."""

    num_started: int = 0
    num_left: int = 0
    num_sent_bytes: int = 0
    has_changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def stream(
        self, request: GenerationRequest, record: RequestRecord, outlet: object = None
    ) -> AsyncGenerator[TextPiece]:
        """Pieces of one KiB, or none."""
        self.num_started += 1
        self.has_changed.set()
        try:
            if request.prompt == "large":
                yield LARGE_PIECE
                return
            while request.prompt == "flood":
                self.num_sent_bytes += 1024
                yield TextPiece(choice=0, text="x" * 1024, token_ids=(1,))
            await asyncio.Event().wait()
        finally:
            self.num_left += 1
            self.has_changed.set()

    async def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Return when something about this core holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_true():
                self.has_changed.clear()
                await self.has_changed.wait()


class OwnHealth(Health):
    """Readiness that a test decides."""

    def __init__(self) -> None:
        super().__init__()
        self._is_ready = True

    def ready(self) -> Verdict:
        """What was decided."""
        return Verdict(self._is_ready, "decided")

    def become(self, *, is_ready: bool) -> None:
        """Decide."""
        self._is_ready = is_ready
        self.notify()


@dataclass
class RunningGrpcServer:
    """The server, what it counts and how to reach it."""

    core: Core
    log: RequestLog
    metrics: Metrics
    port: int
    server: GrpcServer
    health: OwnHealth

    def count(self, name: str, **labels: str) -> float:
        """One sample."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def channel(self, *options: tuple[str, Any]) -> grpc.aio.Channel:
        """A connection of its own."""
        own = ("grpc.use_local_subchannel_pool", 1)
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=[own, *options])


@contextlib.asynccontextmanager
async def running_grpc_server(
    *,
    tls: ssl.SSLContext | None = None,
    socket_bytes: int | None = None,
    **limits: Any,
) -> AsyncGenerator[RunningGrpcServer]:
    """A server with some limits of its own, and so much room in the kernel for what it sends."""
    listener = socket.create_server(("127.0.0.1", 0))
    if socket_bytes is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, socket_bytes)
    health = OwnHealth()
    core, metrics = Core(), Metrics()
    own = TransportLimits(**limits)
    log = RequestLog(metrics, max_open=own.max_open_requests)
    server = GrpcServer(
        cast("TextGenerator", core),
        cast("ServedModels", None),
        readiness=health,
        log=log,
        metrics=metrics,
        limits=own,
        listener=listener,
        tls=tls,
    )
    await server.start()
    try:
        yield RunningGrpcServer(core, log, metrics, server.port, server, health)
    finally:
        await server.stop()


GrpcScenario: TypeAlias = Callable[[RunningGrpcServer], Coroutine[None, None, None]]


def play_grpc(scenario: GrpcScenario, **limits: Any) -> None:
    """Run a scenario on the loop that the service runs on."""

    async def alone() -> None:
        async with running_grpc_server(**limits) as server:
            await scenario(server)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(alone())


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame of HTTP/2."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


# What a client says first.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)


def headers_frame(
    stream: int,
    method: str,
    fields: Mapping[str, str] | None = None,
    *,
    is_last: bool = False,
    service: str = SERVICE,
) -> bytes:
    """The head of a gRPC call, each field written out (RFC 7541, 6.2.2)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{service}/{method}",
        ":authority": "x",
        "te": "trailers",
        "content-type": "application/grpc",
        **(fields or {}),
    }
    block = b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in fields.items()
    )
    return frame(1, 0x4 | is_last, stream, block)


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


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in an error's details."""
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(cast("bytes", details))
    for packed in status.details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            return info.reason
    return ""
