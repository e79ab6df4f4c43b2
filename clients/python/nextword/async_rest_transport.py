"""A server over REST for programs of asyncio; otherwise as `rest_transport`."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import TypeVar

import httpx2

from nextword.calls import Call
from nextword.connection import Connection
from nextword.errors import ProtocolError
from nextword.event_stream import EventReader
from nextword.http_library import (
    LIMITS,
    MAX_SILENCE_SECONDS,
    certificates,
    headers,
    method_of,
    timeouts,
    translated,
)
from nextword.rest_messages import read_error

__all__ = ["AsyncRestTransport"]

AnswerT = TypeVar("AnswerT")


class AsyncRestTransport:
    """Sends calls over REST; each has a connection of its own while it lasts."""

    def __init__(self, connection: Connection) -> None:
        address = connection.address
        self._url = address.url
        self._http = httpx2.AsyncClient(
            headers=headers(connection),
            verify=certificates(address, connection.ca_file),
            trust_env=not address.is_loopback,
            limits=LIMITS,
        )

    async def send(self, call: Call[AnswerT]) -> AnswerT:
        """The answer to a call."""
        with translated(self._url, seconds=call.seconds):
            async with asyncio.timeout(call.seconds), AsyncExitStack() as stack:
                response = await self._response(call, stack, silence_seconds=call.seconds)
                body = b"".join([data async for data in response.aiter_raw()])
        if response.status_code != 200:
            raise read_error(response.status_code, body, response.headers)
        return call.read(body)

    async def stream(self, call: Call[AnswerT]) -> AsyncGenerator[AnswerT, None]:
        """The values of a stream of events; closing the generator closes the connection."""
        ends_at = asyncio.get_running_loop().time() + call.seconds
        reader = EventReader()
        with translated(self._url, seconds=call.seconds):
            async with AsyncExitStack() as stack:
                # The time is never measured around a yield: what the caller does there is its own.
                async with asyncio.timeout_at(ends_at):
                    response = await self._response(
                        call, stack, silence_seconds=MAX_SILENCE_SECONDS
                    )
                    if response.status_code != 200:
                        body = b"".join([data async for data in response.aiter_raw()])
                        raise read_error(response.status_code, body, response.headers)
                chunks = response.aiter_raw()
                while True:
                    async with asyncio.timeout_at(ends_at):
                        data = await anext(chunks, b"")
                    if not data:
                        break
                    for payload in reader.feed(data):
                        if payload == b"[DONE]":
                            return
                        yield call.read(payload)
        raise ProtocolError("the stream ended in the middle")

    async def close(self) -> None:
        """Close the connections; streams that still run end."""
        await self._http.aclose()

    async def _response(
        self, call: Call[AnswerT], stack: AsyncExitStack, *, silence_seconds: float
    ) -> httpx2.Response:
        return await stack.enter_async_context(
            self._http.stream(
                method_of(call),
                self._url + call.path,
                content=call.body,
                timeout=timeouts(min(call.seconds, silence_seconds)),
            )
        )
