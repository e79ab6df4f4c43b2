"""The engine's end of the socket pair: frames in, frames out. Torch-free."""

import select
import socket
import threading

from service.engine.frames import (
    LENGTH_BYTES,
    FromEngine,
    ToEngine,
    decode_to_engine,
    encode_frame,
    frame_length,
)

__all__ = ["Channel", "FrontGoneError"]


class FrontGoneError(Exception):
    """The front closed its end of the socket, or asked to leave."""


class Channel:
    """The engine's end of the socket: frames in without blocking, frames out from two threads."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The socket's descriptor, which can be read from when a message has come."""
        return self._connection.fileno()

    def send(self, message: FromEngine) -> None:
        """Write one frame whole; waits while the front does not read."""
        with self._lock:
            self._connection.sendall(encode_frame(message))

    def receive(self, *, wait_seconds: float | None) -> list[ToEngine]:
        """All messages that are here.

        Args:
            wait_seconds: How long to wait for the first one; None is without end.

        Raises:
            FrontGoneError: The socket has ended.
        """
        messages = self._parse()
        if messages:
            wait_seconds = 0.0
        elif wait_seconds is None:
            while not messages:
                self._read()
                messages = self._parse()
            wait_seconds = 0.0
        while select.select([self._connection], [], [], wait_seconds)[0]:
            wait_seconds = 0.0
            self._read()
            messages += self._parse()
        return messages

    def _read(self) -> None:
        received = self._connection.recv(1 << 16)
        if not received:
            raise FrontGoneError
        self._buffer += received

    def _parse(self) -> list[ToEngine]:
        messages: list[ToEngine] = []
        while len(self._buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + frame_length(self._buffer)
            if len(self._buffer) < end:
                break
            messages.append(decode_to_engine(self._buffer[LENGTH_BYTES:end]))
            del self._buffer[:end]
        return messages
