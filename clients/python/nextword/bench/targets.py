"""One client of a load test: a connection of its own, and one stream on it at a time."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, cast

import grpc
import grpc.aio
import httpx2

from nextword.address import Address
from nextword.api_key import authorization
from nextword.bench.plan import Ask, Plan, openai_url
from nextword.bench.records import RequestRecord
from nextword.event_stream import EventReader
from nextword.grpc_channel import open_asyncio_channel
from nextword.grpc_messages import fill_request, read_finish_reason
from nextword.grpc_transport import translate
from nextword.http_library import certificates, translated
from nextword.json_fields import read_json_object
from nextword.request import GRACE_SECONDS, GenerationRequest, SamplingParameters
from nextword.rest_messages import raise_error_event, read_error, read_piece, request_body
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

__all__ = ["Target", "new_target"]


class Target(Protocol):
    """A client that sends requests one after another."""

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        """Send one request and read its stream to the end.

        Raises:
            NextwordError: It failed; the record has what came before.
        """
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


def new_target(address: Address, plan: Plan) -> Target:
    """A client of the plan's kind."""
    if plan.api == "openai":
        return OpenAiTarget(address, plan)
    return RestTarget(address, plan) if address.protocol == "rest" else GrpcTarget(address, plan)


class RestTarget:
    """Streams of /v1/generate."""

    def __init__(self, address: Address, plan: Plan) -> None:
        self._events = _EventClient(address, plan)
        self._url = f"{address.url}/v1/generate"
        self._plan = plan

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        body = request_body(_request(ask, self._plan), is_streamed=True)
        async with aclosing(self._events.stream(self._url, body)) as payloads:
            async for payload in payloads:
                piece = read_piece(payload)
                if piece.token_ids:
                    record.note_tokens(len(piece.token_ids))
                record.finish_reason = piece.finish_reason or record.finish_reason
                if piece.summary is not None:
                    _note_usage(
                        record,
                        piece.summary.usage.prompt_tokens,
                        piece.summary.usage.completion_tokens,
                    )
        record.num_tokens = sum(count for _, count in record.arrivals)

    async def close(self) -> None:
        await self._events.close()


class OpenAiTarget:
    """Streams of /v1/completions, of whoever offers it."""

    def __init__(self, address: Address, plan: Plan) -> None:
        self._events = _EventClient(address, plan)
        self._url = openai_url(address, "completions")
        self._plan = plan

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        plan = self._plan
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
        async with aclosing(self._events.stream(self._url, body)) as payloads:
            async for payload in payloads:
                self._note(payload, record)

    async def close(self) -> None:
        await self._events.close()

    def _note(self, payload: bytes, record: RequestRecord) -> None:
        chunk = read_json_object(payload)
        raise_error_event(chunk)
        for choice in chunk.objects("choices") if chunk.has("choices") else ():
            if choice.has("text") and choice.text("text"):
                record.note_tokens(1)
            record.finish_reason = choice.optional_text("finish_reason") or record.finish_reason
        if chunk.has("usage"):
            usage = chunk.object("usage")
            _note_usage(record, usage.integer("prompt_tokens"), usage.integer("completion_tokens"))


class GrpcTarget:
    """Streams of StreamGenerateText."""

    def __init__(self, address: Address, plan: Plan) -> None:
        self._address = address
        self._plan = plan
        self._channel = open_asyncio_channel(address)
        self._stub = TextGenerationServiceStub(self._channel)

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        message = pb.StreamGenerateTextRequest()
        fill_request(message, _request(ask, self._plan))
        seconds = self._plan.timeout_seconds + GRACE_SECONDS
        metadata = tuple(authorization(self._plan.api_key).items())
        call = self._stub.StreamGenerateText(message, timeout=seconds, metadata=metadata)
        try:
            async for answer in call:
                if answer.token_ids:
                    record.note_tokens(len(answer.token_ids))
                if answer.finish_reason:
                    record.finish_reason = read_finish_reason(answer.finish_reason)
                if answer.HasField("summary"):
                    usage = answer.summary.usage
                    _note_usage(record, usage.prompt_tokens, usage.completion_tokens)
        except grpc.aio.AioRpcError as error:
            raise translate(cast("grpc.Call", error), self._address) from None
        finally:
            call.cancel()
        record.num_tokens = sum(count for _, count in record.arrivals)

    async def close(self) -> None:
        await self._channel.close()


class _EventClient:
    """Server-sent events over one connection that is kept open between requests."""

    def __init__(self, address: Address, plan: Plan) -> None:
        self._server = address.url
        self._seconds = plan.timeout_seconds + GRACE_SECONDS
        self._http = httpx2.AsyncClient(
            headers=authorization(plan.api_key),
            verify=certificates(address),
            trust_env=not address.is_loopback,
            timeout=httpx2.Timeout(self._seconds, connect=10),
        )

    async def stream(self, url: str, body: dict[str, object]) -> AsyncGenerator[bytes]:
        """The payloads up to [DONE]."""
        reader = EventReader()
        with translated(self._server, seconds=self._seconds):
            async with self._http.stream("POST", url, json=body) as response:
                if response.status_code != 200:
                    content = await response.aread()
                    raise read_error(response.status_code, content, response.headers)
                async for data in response.aiter_raw():
                    for payload in reader.feed(data):
                        if payload == b"[DONE]":
                            # Read to the end, so that the connection can be used again.
                            continue
                        yield payload

    async def close(self) -> None:
        await self._http.aclose()


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


def _note_usage(record: RequestRecord, num_prompt_tokens: int, num_tokens: int) -> None:
    record.num_prompt_tokens, record.num_used_tokens = num_prompt_tokens, num_tokens
