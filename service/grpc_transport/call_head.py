"""What the headers of a gRPC call say, and what those of its answer do.

Source: PROTOCOL-HTTP2 of gRPC (requests, responses, percent-encoded messages, binary metadata).
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

import grpc

__all__ = [
    "CallHead",
    "CallHeadError",
    "Headers",
    "Metadata",
    "encode_metadata",
    "encode_status",
    "read_call_head",
]

Metadata = tuple[tuple[str, str | bytes], ...]
Headers = list[tuple[bytes, bytes]]

_BINARY = "-bin"
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_TIMEOUT_DIGITS = 8
_CONTENT_TYPE = b"application/grpc"
# Hop by hop, or told otherwise.
_NOT_METADATA = frozenset((b"te", b"content-type", b"grpc-timeout", b"grpc-encoding"))
# A message of a status may hold any other byte of ASCII as it is.
_SAFE_IN_MESSAGE = bytes(byte for byte in range(0x20, 0x7F) if byte != 0x25).decode("ascii")


class CallHeadError(Exception):
    """Headers that begin no gRPC call.

    Attributes:
        http_status: What an HTTP client is told.
    """

    def __init__(self, http_status: int) -> None:
        super().__init__(http_status)
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class CallHead:
    """How a call begins.

    Attributes:
        method: "/SERVICE/METHOD".
        metadata: The caller's own, binary ones decoded.
        timeout_seconds: Until its deadline; None where it has none.
        encoding: How its compressed messages are compressed.
    """

    method: str
    metadata: Metadata
    timeout_seconds: float | None
    encoding: str


def read_call_head(headers: Iterable[tuple[bytes, bytes]]) -> CallHead:
    """Read the headers of a request.

    Raises:
        CallHeadError: They are not those of a gRPC call.
    """
    pseudo: dict[bytes, bytes] = {}
    known: dict[bytes, bytes] = {}
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name.startswith(b":"):
            pseudo[name] = value
        elif name in _NOT_METADATA:
            known[name] = value
        else:
            metadata += _metadata(name, value)
    if pseudo.get(b":method") != b"POST":
        raise CallHeadError(405)
    kind = known.get(b"content-type", b"")
    if not (kind == _CONTENT_TYPE or kind.startswith((_CONTENT_TYPE + b"+", _CONTENT_TYPE + b";"))):
        raise CallHeadError(415)
    path = pseudo.get(b":path", b"")
    timeout = known.get(b"grpc-timeout")
    return CallHead(
        method=path.decode("latin-1"),
        metadata=tuple(metadata),
        timeout_seconds=None if timeout is None else _timeout(timeout),
        encoding=known.get(b"grpc-encoding", b"identity").decode("latin-1"),
    )


def _metadata(name: bytes, value: bytes) -> list[tuple[str, str | bytes]]:
    key = name.decode("latin-1")
    if not key.endswith(_BINARY):
        return [(key, value.decode("latin-1"))]
    try:
        # Several of one name may be joined, and padding may be left out.
        return [
            (key, base64.b64decode(each + b"=" * (-len(each) % 4), validate=True))
            for each in value.split(b",")
        ]
    except binascii.Error:
        raise CallHeadError(400) from None


def _timeout(value: bytes) -> float:
    digits, unit = value[:-1], value[-1:]
    if not digits.isdigit() or len(digits) > _MAX_TIMEOUT_DIGITS or unit not in _SECONDS:
        raise CallHeadError(400)
    return int(digits) * _SECONDS[unit]


def encode_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Headers:
    """Headers of an answer."""
    return [
        (
            name.encode("ascii"),
            base64.b64encode(value).rstrip(b"=")
            if isinstance(value, bytes)
            else value.encode("latin-1", "replace"),
        )
        for name, value in metadata
    ]


def encode_status(
    code: grpc.StatusCode, message: str, metadata: Iterable[tuple[str, str | bytes]] = ()
) -> Headers:
    """The trailers that end a call."""
    number: int = code.value[0]
    trailers = [(b"grpc-status", b"%d" % number)]
    if message:
        text = quote_from_bytes(message.encode("utf-8", "replace"), safe=_SAFE_IN_MESSAGE)
        trailers.append((b"grpc-message", text.encode("ascii")))
    return trailers + encode_metadata(metadata)
