"""Clients that read many streams at next to no cost: they count messages and look at the last one.

Written on plain sockets: a client library would take more of the processor than the servers that
are measured. HTTP/2 is as much of it as a well-behaved server needs: no header is decoded.
"""

import json
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nextword.v1 import text_generation_pb2 as pb

__all__ = ["StreamCount", "count_grpc", "count_rest", "held_streams"]

READ_BYTES = 1 << 18
SECONDS = 120.0
STREAMS_TO_A_CONNECTION = 500
# What of a stream is kept: its last event is in it.
TAIL_BYTES = 2048
_EVENT = b"data: {"
_END = b"[DONE]"
_METHOD = b"/nextword.v1.TextGenerationService/StreamGenerateText"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACKNOWLEDGE = _END_STREAM = 1
_END_HEADERS = 4
_MAX_WINDOW = (1 << 31) - 1


@dataclass(slots=True)
class StreamCount:
    """What came.

    Attributes:
        num_messages: Of all streams.
        last: The last message of one of them.
    """

    num_messages: int = 0
    last: bytes = b""


def count_rest(
    port: int, *, num_streams: int, num_tokens: int, told: Callable[[int], None]
) -> StreamCount:
    """Read so many streams of events at once to their ends, each on a connection of its own.

    Args:
        told: Called with the number of messages so far, time and again.
    """
    body = json.dumps(
        {"prompt": "Once", "max_tokens": num_tokens, "ignore_eos": True, "stream": True}
    ).encode()
    request = (
        b"POST /v1/generate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n" % len(body)
    ) + body
    found = StreamCount()
    with selectors.DefaultSelector() as selector:
        for _ in range(num_streams):
            connection = socket.create_connection(("127.0.0.1", port), SECONDS)
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, bytearray())
        while selector.get_map():
            ready = selector.select(SECONDS)
            if not ready:
                raise TimeoutError(f"nothing came for {SECONDS:g} seconds")
            for key, _ in ready:
                connection, tail = key.fileobj, key.data
                assert isinstance(connection, socket.socket)
                data = connection.recv(READ_BYTES)
                # A mark may lie across two reads.
                seen = max(0, len(tail) - len(_EVENT) + 1)
                tail += data
                found.num_messages += tail.count(_EVENT, seen)
                if not data or _END in tail:
                    if _END not in tail:
                        raise RuntimeError(f"a stream ended early: {bytes(tail[-300:])!r}")
                    found.last = bytes(tail)
                    selector.unregister(connection)
                    connection.close()
                    continue
                del tail[: max(0, len(tail) - TAIL_BYTES)]
            told(found.num_messages)
    return found


@dataclass(slots=True)
class _Connection:
    """One HTTP/2 connection and what was received of it and not read."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    messages: dict[int, bytearray] = field(default_factory=dict[int, bytearray])


def count_grpc(
    port: int,
    *,
    num_streams: int,
    num_tokens: int,
    num_connections: int,
    told: Callable[[int], None],
) -> StreamCount:
    """Read so many gRPC streams at once to their ends, spread over some connections.

    Args:
        told: Called with the number of messages so far, time and again.
    """
    request = pb.StreamGenerateTextRequest(prompt="Once")
    request.parameters.max_tokens = num_tokens
    request.parameters.ignore_eos = True
    message = request.SerializeToString()
    found = StreamCount()
    with selectors.DefaultSelector() as selector:
        for number in range(num_connections):
            own = len(range(number, num_streams, num_connections))
            connection = _open(port, message, own)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        while selector.get_map():
            ready = selector.select(SECONDS)
            if not ready:
                raise TimeoutError(f"nothing came for {SECONDS:g} seconds")
            for key, _ in ready:
                connection = key.data
                assert isinstance(connection, _Connection)
                data = connection.socket.recv(READ_BYTES)
                if not data:
                    raise RuntimeError("a connection ended early")
                connection.received += data
                _read_frames(connection, found)
                if not connection.messages:
                    selector.unregister(connection.socket)
                    connection.socket.close()
            told(found.num_messages)
    return found


@contextmanager
def held_streams(
    port: int, *, num_streams: int, seed: int, taken: Callable[[int], None]
) -> Generator[None]:
    """Open gRPC streams that get no answer as long as the block runs, some to a connection.

    Args:
        taken: Returns when the server has so many; of more than 1,000 at once gRPC refuses some.
    """
    request = pb.StreamGenerateTextRequest(prompt="Once")
    request.parameters.max_tokens = 1
    request.parameters.seed = seed
    message = request.SerializeToString()
    has_ended = threading.Event()
    with selectors.DefaultSelector() as selector:

        def answer_pings() -> None:
            while not has_ended.is_set():
                for key, _ in selector.select(0.1):
                    connection: _Connection = key.data
                    connection.received += connection.socket.recv(READ_BYTES)
                    _read_frames(connection, StreamCount())

        # From the first on: to open very many takes longer than the server waits for an answer.
        answering = threading.Thread(target=answer_pings, daemon=True)
        answering.start()
        try:
            for start in range(0, num_streams, STREAMS_TO_A_CONNECTION):
                own = min(STREAMS_TO_A_CONNECTION, num_streams - start)
                connection = _open(port, message, own)
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                taken(start + own)
            yield
        finally:
            has_ended.set()
            answering.join()
            for key in list(selector.get_map().values()):
                key.data.socket.close()


def _open(port: int, message: bytes, num_streams: int) -> _Connection:
    """A connection on which so many calls have been made."""
    connection = _Connection(socket.create_connection(("127.0.0.1", port), SECONDS))
    # Windows that are never full: nothing need be given back.
    start = _PREFACE + _frame(_SETTINGS, 0, 0, struct.pack(">HI", 4, _MAX_WINDOW))
    start += _frame(8, 0, 0, struct.pack(">I", _MAX_WINDOW - 65535))
    for index in range(num_streams):
        identity = 2 * index + 1
        connection.messages[identity] = bytearray()
        start += _frame(_HEADERS, _END_HEADERS, identity, _head())
        body = b"\0" + struct.pack(">I", len(message)) + message
        start += _frame(_DATA, _END_STREAM, identity, body)
    connection.socket.sendall(start)
    return connection


def _read_frames(connection: _Connection, found: StreamCount) -> None:
    received, at = connection.received, 0
    while len(received) - at >= 9:
        length = int.from_bytes(received[at : at + 3], "big")
        kind, flags = received[at + 3], received[at + 4]
        identity = int.from_bytes(received[at + 5 : at + 9], "big")
        end = at + 9 + length
        if len(received) < end:
            break
        if kind == _DATA:
            _read_messages(connection.messages[identity], received[at + 9 : end], found)
        elif kind == _SETTINGS and not flags & _ACKNOWLEDGE:
            connection.socket.sendall(_frame(_SETTINGS, _ACKNOWLEDGE, 0, b""))
        elif kind == _PING and not flags & _ACKNOWLEDGE:
            reply = _frame(_PING, _ACKNOWLEDGE, 0, bytes(received[at + 9 : end]))
            connection.socket.sendall(reply)
        elif kind in (_RESET, _GOAWAY):
            raise RuntimeError(f"a stream ended early: {bytes(received[at:end])!r}")
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            del connection.messages[identity]
        at = end
    del received[:at]


def _read_messages(waiting: bytearray, data: bytearray, found: StreamCount) -> None:
    waiting += data
    at = 0
    while len(waiting) - at >= 5:
        end = at + 5 + int.from_bytes(waiting[at + 1 : at + 5], "big")
        if len(waiting) < end:
            break
        found.num_messages += 1
        found.last = bytes(waiting[at + 5 : end])
        at = end
    del waiting[:at]


def _frame(kind: int, flags: int, identity: int, payload: bytes) -> bytes:
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, identity) + payload
    )


def _head() -> bytes:
    """The headers of a call, written out: nothing is indexed, nothing compressed."""
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", _METHOD),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    return b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers
    )
