"""All connections of one REST server: how many there may be, and which one makes room."""

import asyncio
import http
import resource
import socket
from typing import Protocol

import msgspec

from service.errors import RequestError
from service.request_ids import clean_request_id
from service.rest_api.errors import error_body, error_headers

__all__ = ["Connections", "raw_error_response", "tune_socket"]

# For engines, logs, gRPC and the files of models.
RESERVED_DESCRIPTORS = 128
SEND_BUFFER_BYTES = 64 * 1024
# A dead peer is noticed within a minute: 30 + 3 * 10 seconds.
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


# A transport tells nobody that its buffer has become empty.
_DELIVERY_POLL_SECONDS = 0.05


class _Connection(Protocol):
    @property
    def is_delivering(self) -> bool: ...

    def close_idle(self) -> None: ...


class Connections:
    """The open connections, the longest idle first among those without a request.

    Args:
        maximum: Most at once; fewer where the process may not open so many files.
    """

    def __init__(self, maximum: int) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.maximum = max(1, min(maximum, descriptors - RESERVED_DESCRIPTORS))
        self._open: set[_Connection] = set()
        self._idle: dict[_Connection, None] = {}

    @property
    def num_open(self) -> int:
        """Connections that have not ended."""
        return len(self._open)

    async def wait_delivered(self) -> None:
        """Return when every answer has left our buffers; what the kernel has outlives us."""
        while any(connection.is_delivering for connection in self._open):  # noqa: ASYNC110
            await asyncio.sleep(_DELIVERY_POLL_SECONDS)

    def admit(self, connection: _Connection) -> bool:
        """Take a connection in, at the cost of an idle one when all are taken."""
        if len(self._open) >= self.maximum:
            if not self._idle:
                return False
            oldest = next(iter(self._idle))
            self.leave(oldest)
            oldest.close_idle()
        self._open.add(connection)
        return True

    def note_idle(self, connection: _Connection) -> None:
        """It waits for its next request."""
        if connection in self._open:
            self._idle[connection] = None

    def note_busy(self, connection: _Connection) -> None:
        """Something arrives on it."""
        self._idle.pop(connection, None)

    def leave(self, connection: _Connection) -> None:
        """It is gone."""
        self._open.discard(connection)
        self._idle.pop(connection, None)


def raw_error_response(error: RequestError) -> bytes:
    """A whole answer for a connection that has no request and will be closed."""
    body = msgspec.json.encode(error_body(error))
    status = http.HTTPStatus(error.kind.http_status)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": clean_request_id(None),
        **error_headers(error),
        "connection": "close",
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def tune_socket(connection: socket.socket) -> None:
    """Bound what the kernel holds for a slow reader, and let it notice a dead one."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", 60_000)):
        # Each system has a part of them.
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
