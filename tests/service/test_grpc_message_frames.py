"""Messages in a stream of bytes, however it is cut, and those that cannot be read."""

import gzip
import struct
import zlib

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.grpc_transport.message_frames import (
    MessageReader,
    UnreadableMessageError,
    frame_message,
)

MAX_BYTES = 1000


def read(reader: MessageReader, data: bytes) -> list[bytes]:
    """What there is to read once more has come."""
    reader.feed(data)
    found: list[bytes] = []
    while reader.has_next:
        found.append(reader.next())
    return found


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6),
    st.sampled_from(["gzip", "deflate"]),
    st.lists(st.integers(1, 400), max_size=40),
)
def test_messages_come_whole_however_the_stream_is_cut(
    messages: list[tuple[bytes, bool]], encoding: str, cuts: list[int]
) -> None:
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    stream = b""
    for message, is_compressed in messages:
        content = compress(message) if is_compressed else message
        stream += struct.pack(">BI", is_compressed, len(content)) + content
    reader = MessageReader(encoding, max_bytes=MAX_BYTES)
    found: list[bytes] = []
    for cut in cuts:
        found += read(reader, stream[:cut])
        stream = stream[cut:]
    found += read(reader, stream)
    assert found == [message for message, _ in messages]


def test_a_message_is_framed_as_it_is_read() -> None:
    assert read(MessageReader("identity", max_bytes=3), frame_message(b"abc")) == [b"abc"]


@pytest.mark.parametrize(
    ("data", "encoding", "code"),
    [
        (struct.pack(">BI", 0, MAX_BYTES + 1), "identity", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (struct.pack(">BI", 1, 1) + b"x", "identity", grpc.StatusCode.INTERNAL),
        (struct.pack(">BI", 1, 1) + b"x", "br", grpc.StatusCode.UNIMPLEMENTED),
        (struct.pack(">BI", 1, 3) + b"xyz", "gzip", grpc.StatusCode.INTERNAL),
        (struct.pack(">BI", 1, 12) + gzip.compress(b"abc")[:12], "gzip", grpc.StatusCode.INTERNAL),
    ],
    ids=["too long", "compressed without a name", "unknown", "not gzip", "half of it"],
)
def test_what_cannot_be_read_is_told(data: bytes, encoding: str, code: grpc.StatusCode) -> None:
    with pytest.raises(UnreadableMessageError) as error:
        read(MessageReader(encoding, max_bytes=MAX_BYTES), data)
    assert error.value.code is code


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1, 10**7])
def test_compression_hides_no_size(size: int) -> None:
    content = gzip.compress(bytes(size))
    reader = MessageReader("gzip", max_bytes=max(MAX_BYTES, len(content)))
    stream = struct.pack(">BI", 1, len(content)) + content
    if size <= max(MAX_BYTES, len(content)):
        assert read(reader, stream) == [bytes(size)]
    else:
        with pytest.raises(UnreadableMessageError) as error:
            read(reader, stream)
        assert error.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
