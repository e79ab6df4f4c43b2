"""Messages of gRPC in a stream of bytes: a flag, four bytes of length, the message.

Source: PROTOCOL-HTTP2 of gRPC, "Length-Prefixed-Message", and its compression.md.
"""

import struct
import zlib

import grpc

__all__ = ["ENCODINGS", "MessageReader", "UnreadableMessageError", "frame_message"]

# Of compressed messages; "identity" is none.
_IDENTITY = "identity"
ENCODINGS = (_IDENTITY, "deflate", "gzip")
_HEAD = struct.Struct(">BI")
# zlib's own header, or gzip's.
_WINDOW_BITS = {"deflate": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS | 16}


class UnreadableMessageError(Exception):
    """A message that is too large, or compressed in a way that nobody agreed on.

    Attributes:
        code: The status that tells of it.
        message: The words.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class MessageReader:
    """Cuts what comes on one call into messages; none is inflated before it is asked for.

    Args:
        encoding: What its head named.
        max_bytes: Of one message, compressed or not.
    """

    def __init__(self, encoding: str, *, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._received = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self._received += data

    @property
    def has_next(self) -> bool:
        """Whether `next` has something to say: a message is whole, or will be too large."""
        received = self._received
        if len(received) < _HEAD.size:
            return False
        _, length = _HEAD.unpack_from(received)
        return length > self._max_bytes or len(received) >= _HEAD.size + length

    def next(self) -> bytes:
        """The next message, where `has_next`.

        Raises:
            UnreadableMessageError: It is none that can be read.
        """
        is_compressed, length = _HEAD.unpack_from(self._received)
        if length > self._max_bytes:
            raise self._too_large(length)
        end = _HEAD.size + length
        content = bytes(self._received[_HEAD.size : end])
        del self._received[:end]
        return self._decompressed(content) if is_compressed else content

    def _decompressed(self, content: bytes) -> bytes:
        if self._encoding == _IDENTITY:
            raise UnreadableMessageError(
                grpc.StatusCode.INTERNAL, "a message that is compressed, in a call that is not"
            )
        bits = _WINDOW_BITS.get(self._encoding)
        if bits is None:
            raise UnreadableMessageError(
                grpc.StatusCode.UNIMPLEMENTED, f"messages compressed by {self._encoding!r}"
            )
        inflater = zlib.decompressobj(bits)
        try:
            # No more than one byte beyond the limit is ever made.
            data = inflater.decompress(content, self._max_bytes + 1)
        except zlib.error as error:
            raise UnreadableMessageError(
                grpc.StatusCode.INTERNAL, f"a message that is not {self._encoding}: {error}"
            ) from None
        if len(data) > self._max_bytes:
            raise self._too_large(len(data))
        if not inflater.eof:
            raise UnreadableMessageError(
                grpc.StatusCode.INTERNAL, f"a message that is not all of its {self._encoding}"
            )
        return data

    def _too_large(self, num_bytes: int) -> UnreadableMessageError:
        return UnreadableMessageError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"a message of {num_bytes} bytes or more; at most {self._max_bytes} are read",
        )


def frame_message(message: bytes) -> bytes:
    """A message as the stream has it."""
    return _HEAD.pack(0, len(message)) + message
