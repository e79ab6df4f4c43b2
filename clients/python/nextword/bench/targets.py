"""One client of a load test: a connection of its own, and one stream on it at a time.

What comes is kept as it comes, with its time; `stream_reading` reads it later.
"""

import json
import time
from ssl import SSLContext
from typing import Protocol, cast

import grpc
import grpc.aio

from nextword.address import Address
from nextword.api_key import authorization
from nextword.bench.http_connection import HttpConnection
from nextword.bench.plan import Ask, Plan, openai_url
from nextword.bench.records import RequestRecord
from nextword.bench.stream_reading import (
    StreamReader,
    read_messages,
    read_native_events,
    read_openai_events,
)
from nextword.grpc_channel import open_asyncio_channel
from nextword.grpc_messages import fill_request
from nextword.grpc_transport import translate
from nextword.http_library import certificates
from nextword.request import GRACE_SECONDS, GenerationRequest, SamplingParameters
from nextword.rest_messages import read_error, request_body
from nextword.v1 import text_generation_pb2 as pb

__all__ = ["Target", "new_target", "stream_reader"]

_STREAM_METHOD = "/nextword.v1.TextGenerationService/StreamGenerateText"


class Target(Protocol):
    """A client that sends requests one after another."""

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        """Send one request, note when, and keep its stream up to the end.

        Raises:
            NextwordError: It failed; the record has what came before.
        """
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


def new_target(address: Address, plan: Plan) -> Target:
    """A client of the plan's kind."""
    return HttpTarget(address, plan) if address.protocol == "rest" else GrpcTarget(address, plan)


def stream_reader(address: Address, plan: Plan) -> StreamReader:
    """What reads the streams of such a client."""
    if plan.api == "openai":
        return read_openai_events
    return read_native_events if address.protocol == "rest" else read_messages


class HttpTarget:
    """Streams of /v1/generate, or of /v1/completions of whoever offers it."""

    def __init__(self, address: Address, plan: Plan) -> None:
        verified = certificates(address)
        self._connection = HttpConnection(
            address.host,
            port=address.port,
            encryption=verified if isinstance(verified, SSLContext) else None,
            url=address.url,
        )
        is_openai = plan.api == "openai"
        url = openai_url(address, "completions") if is_openai else f"{address.url}/v1/generate"
        path = "/" + url.split("/", 3)[3]
        key = "".join(f"{name}: {value}\r\n" for name, value in _headers(plan).items())
        self._head = (
            f"POST {path} HTTP/1.1\r\nhost: {address.authority}\r\n{key}"
            "content-type: application/json\r\naccept: text/event-stream\r\ncontent-length: "
        ).encode()
        self._plan = plan

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        body = json.dumps(_body(ask, self._plan)).encode()
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        record.note_sending(ask)
        answer = await self._connection.exchange(request, record.pieces)
        if answer.status != 200:
            content = b"".join(data for _, data in record.pieces)
            record.pieces.clear()
            raise read_error(answer.status, content, answer.headers)

    async def close(self) -> None:
        self._connection.close()


class GrpcTarget:
    """Streams of StreamGenerateText, whose messages stay bytes."""

    def __init__(self, address: Address, plan: Plan) -> None:
        self._address = address
        self._plan = plan
        self._channel = open_asyncio_channel(address)
        self._stream = cast(
            "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]",
            self._channel.unary_stream(_STREAM_METHOD),
        )

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        message = pb.StreamGenerateTextRequest()
        fill_request(message, _request(ask, self._plan))
        request = message.SerializeToString()
        seconds = self._plan.timeout_seconds + GRACE_SECONDS
        metadata = tuple(_headers(self._plan).items())
        record.note_sending(ask)
        call = self._stream(request, timeout=seconds, metadata=metadata)
        pieces, now = record.pieces, time.perf_counter
        try:
            async for data in call:
                pieces.append((now(), data))
        except grpc.aio.AioRpcError as error:
            raise translate(cast("grpc.Call", error), self._address) from None
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()


def _headers(plan: Plan) -> dict[str, str]:
    return authorization(plan.api_key)


def _body(ask: Ask, plan: Plan) -> dict[str, object]:
    if plan.api == "native":
        return request_body(_request(ask, plan), is_streamed=True)
    body: dict[str, object] = {
        "prompt": ask.prompt if isinstance(ask.prompt, str) else list(ask.prompt),
        "max_tokens": plan.max_tokens,
        "seed": ask.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        # Not OpenAI's own word, but that of every server one would measure.
        "ignore_eos": True,
    }
    if plan.model is not None:
        body["model"] = plan.model
    if plan.temperature is not None:
        body["temperature"] = plan.temperature
    return body


def _request(ask: Ask, plan: Plan) -> GenerationRequest:
    return GenerationRequest(
        prompt=ask.prompt,
        parameters=SamplingParameters(
            max_tokens=plan.max_tokens,
            temperature=plan.temperature,
            seed=ask.seed,
            ignore_eos=True,
        ),
        model=plan.model,
        timeout_seconds=plan.timeout_seconds,
    )
