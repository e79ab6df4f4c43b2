"""The front's end of the socket to an engine process: frames in, frames out. Torch-free.

Messages are handed on where they are read, without a task in between, and together where they came
together: there is one for every token of a lonely stream.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

import msgspec

from service.engine.frames import (
    LENGTH_BYTES,
    FromEngine,
    ToEngine,
    decode_from_engine,
    encode_frame,
    frame_length,
)

__all__ = ["EngineSocket"]

_logger = logging.getLogger(__name__)


class EngineSocket(asyncio.Protocol):
    """One socket; `open` makes it.

    Messages wait until somebody listens. A message that is none of an engine's ends the socket.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._early: list[FromEngine] = []
        self._listen: Callable[[list[FromEngine]], None] = self._keep
        self._has_message = asyncio.Event()
        self._lost: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def open(cls, connected: socket.socket) -> "EngineSocket":
        """Take over a connected socket."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_unix_connection(cls, sock=connected)
        return protocol

    def send(self, message: ToEngine) -> None:
        """Write one message, unless the socket has ended.

        Not awaited: a request is some kilobytes, and admission bounds their number.
        """
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_frame(message))

    async def first(self) -> FromEngine:
        """The first message, before anybody listens.

        Raises:
            EOFError: The socket has ended without one.
        """
        arrival = asyncio.create_task(self._has_message.wait())
        try:
            await asyncio.wait((arrival, self._lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
        if not self._early:
            raise EOFError
        return self._early.pop(0)

    def listen(
        self, on_messages: Callable[[list[FromEngine]], None], on_lost: Callable[[], None]
    ) -> None:
        """Hand on every message from now on, those that wait first, and in the end tell of it.

        Args:
            on_messages: Called with those that came with one read; must not raise.
            on_lost: Called when the socket has ended.
        """
        self._listen = on_messages
        if self._early:
            on_messages(self._early)
            self._early = []
        self._lost.add_done_callback(lambda _: on_lost())

    async def wait_lost(self, *, timeout_seconds: float | None = None) -> None:
        """Return when the socket has ended, or it took too long."""
        await asyncio.wait((self._lost,), timeout=timeout_seconds)

    def close(self) -> None:
        """End the socket; nothing is handed on any more."""
        self._listen = _drop
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on every message that is whole."""
        received = self._received
        if received:
            received += data
            del received[: self._hand_on_all(received)]
        elif (num_bytes := self._hand_on_all(data)) < len(data):
            received += data[num_bytes:]

    def _hand_on_all(self, data: bytes | bytearray) -> int:
        """Hand on what is whole; how many bytes that was."""
        messages: list[FromEngine] = []
        at, end, is_sound = 0, len(data), True
        while end - at >= LENGTH_BYTES:
            try:
                begin = at + LENGTH_BYTES
                after = begin + frame_length(data, at)
                if after > end:
                    break
                messages.append(decode_from_engine(data[begin:after]))
            except (ValueError, msgspec.DecodeError) as error:
                _logger.error("an engine sends what is no message: %s", error)
                is_sound = False
                break
            at = after
        if messages:
            self._listen(messages)
        if not is_sound:
            self.close()
        return at

    def _keep(self, messages: list[FromEngine]) -> None:
        self._early += messages
        self._has_message.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The process is gone, or we closed it."""
        if not self._lost.done():
            self._lost.set_result(None)


def _drop(messages: list[FromEngine]) -> None:
    del messages
