"""One client of a load test: a connection of its own, and one stream on it at a time.

What comes is kept as it comes, with its time; `stream_reading` reads it later.
"""

import time
from functools import cache
from pathlib import Path
from ssl import SSLContext
from typing import Protocol, cast

import grpc
import grpc.aio

from nextword.address import Address
from nextword.api_key import authorization
from nextword.bench.http_connection import HttpConnection
from nextword.bench.plan import Plan
from nextword.bench.prompts import Ask
from nextword.bench.records import RequestRecord
from nextword.bench.request_bodies import RequestBodies, http_path
from nextword.bench.stream_reading import (
    StreamReader,
    read_messages,
    read_native_events,
    read_openai_events,
)
from nextword.certificates import trusted
from nextword.grpc_channel import open_asyncio_channel
from nextword.grpc_errors import translate
from nextword.request import GRACE_SECONDS
from nextword.rest_messages import read_error

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
    if plan.api != "native":
        return read_openai_events
    return read_native_events if address.protocol == "rest" else read_messages


class HttpTarget:
    """Streams of /v1/generate, or of OpenAI's routes of whoever offers them."""

    def __init__(self, address: Address, plan: Plan) -> None:
        self._connection = HttpConnection(
            address.host,
            port=address.port,
            encryption=_trusted(plan.ca_file) if address.is_encrypted else None,
            url=address.url,
        )
        self._bodies = RequestBodies(plan)
        keys = authorization(plan.api_key)
        key = "".join(f"{name}: {value}\r\n" for name, value in keys.items())
        self._head = (
            f"POST {http_path(address, plan)} HTTP/1.1\r\nhost: {address.authority}\r\n{key}"
            "content-type: application/json\r\naccept: text/event-stream\r\ncontent-length: "
        ).encode()

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        body = self._bodies.http(ask)
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
        self._bodies = RequestBodies(plan)
        self._seconds = plan.timeout_seconds + GRACE_SECONDS
        self._metadata = tuple(authorization(plan.api_key).items())
        self._channel = open_asyncio_channel(address, ca_file=plan.ca_file)
        self._stream = cast(
            "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]",
            self._channel.unary_stream(_STREAM_METHOD),
        )

    async def send(self, ask: Ask, record: RequestRecord) -> None:
        request = self._bodies.grpc(ask)
        record.note_sending(ask)
        call = self._stream(request, timeout=self._seconds, metadata=self._metadata)
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


@cache
def _trusted(ca_file: Path | None) -> SSLContext:
    # Reading this machine's certificates takes 30 ms, which each client would wait for.
    return trusted(ca_file)
