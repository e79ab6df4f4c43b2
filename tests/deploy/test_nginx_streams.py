"""What nginx must not do to a stream: hold back what the server has sent."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc
import httpx2
import pytest
import uvloop
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub
from starlette.types import Receive, Scope, Send

from service.generation import GenerationRequest, TextPiece
from service.grpc_api.server import GrpcServer
from service.health import Health
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.request_log import RequestLog, RequestRecord
from service.rest_api.envelope import Envelope
from service.rest_api.event_stream import EventStream
from service.rest_api.server import HttpServer
from service.text_generator import TextGenerator
from tests.deploy.nginx_proxy import Nginx, Proxy

PATIENCE_SECONDS = 30.0
# Long for a byte between two processes of one machine, short for a test.
HELD_BACK_SECONDS = 0.5


@dataclass
class TwoEvents:
    """Says one thing, and the second when it is allowed to."""

    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application behind our HTTP server: an event stream as the service writes it."""
        await EventStream(send, lambda event: event, headers={}).send_all(self._events(), tuple)

    async def _events(self) -> AsyncIterator[object]:
        yield {"text": "one"}
        await self.may_go_on.wait()
        yield {"text": "two"}

    async def stream(
        self, request: GenerationRequest, record: RequestRecord, outlet: object = None
    ) -> AsyncGenerator[TextPiece]:
        """The core behind our gRPC server."""
        yield TextPiece(choice=0, text="one", token_ids=(1,))
        await self.may_go_on.wait()
        yield TextPiece(choice=0, text="two", token_ids=(2,))


async def read_stream(proxy: Proxy, events: TwoEvents, *, patience_seconds: float) -> list[str]:
    """The lines of the stream; the server writes the second event when the first has come.

    Raises:
        TimeoutError: It has not come.
    """
    async with httpx2.AsyncClient(verify=proxy.context, trust_env=False, timeout=None) as client:
        async with asyncio.timeout(patience_seconds) as patience:
            async with client.stream("GET", f"{proxy.url}/v1/anything") as answer:
                lines = answer.aiter_lines()
                received = [await anext(lines)]
                patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
                events.may_go_on.set()
                return [line for line in [*received, *[li async for li in lines]] if line]


async def play_rest(
    nginx: Nginx, folder: Path, *, patience_seconds: float, **options: dict[str, str]
) -> list[str]:
    """Ask for the stream through nginx."""
    events = TwoEvents()
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(Envelope(events, Health(), Metrics()), listener)
    serving = asyncio.create_task(server.run())
    rest = f"127.0.0.1:{listener.getsockname()[1]}"
    try:
        with nginx.running(folder, rest=rest, grpc_address="127.0.0.1:9", **options) as proxy:
            return await read_stream(proxy, events, patience_seconds=patience_seconds)
    finally:
        events.may_go_on.set()
        server.stop()
        await serving


def test_an_event_passes_before_the_next_one_is_made(nginx: Nginx, tmp_path: Path) -> None:
    """H78: what the service says of its streams is what this configuration obeys."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lines = runner.run(play_rest(nginx, tmp_path, patience_seconds=PATIENCE_SECONDS))
    assert lines == ['data: {"text":"one"}', 'data: {"text":"two"}', "data: [DONE]"]


def test_an_nginx_that_ignores_what_the_service_says_would_be_noticed(
    nginx: Nginx, tmp_path: Path
) -> None:
    """The control of the test before."""
    ignoring = {
        "proxy_http_version 1.1;": "proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering;"
    }
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(TimeoutError):
        runner.run(
            play_rest(nginx, tmp_path, patience_seconds=HELD_BACK_SECONDS, replacements=ignoring)
        )


async def play_grpc(nginx: Nginx, folder: Path) -> list[str]:
    """The texts of a gRPC stream through nginx; the second is made when the first has come."""
    core, metrics = TwoEvents(), Metrics()
    server = GrpcServer(
        cast("TextGenerator", core),
        cast("ServedModels", None),
        readiness=Health(),
        log=RequestLog(metrics),
        metrics=metrics,
        listener=socket.create_server(("127.0.0.1", 0)),
    )
    await server.start()
    texts: list[str] = []
    try:
        with nginx.running(
            folder, rest="127.0.0.1:9", grpc_address=f"127.0.0.1:{server.port}"
        ) as proxy:
            async with grpc.aio.secure_channel(
                f"localhost:{proxy.port}", proxy.credentials()
            ) as channel:
                call = TextGenerationServiceStub(channel).StreamGenerateText(
                    pb.StreamGenerateTextRequest(prompt="x"), timeout=PATIENCE_SECONDS
                )
                async for message in call:
                    texts.append(message.text)
                    core.may_go_on.set()
    finally:
        core.may_go_on.set()
        await server.stop()
    return texts


def test_a_message_of_grpc_passes_before_the_next_one_is_made(nginx: Nginx, tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(play_grpc(nginx, tmp_path)) == ["one", "two"]
