"""How a message between the front and an engine process becomes bytes, and again a message.

Torch-free. Frames on a socket pair: four bytes of length, then msgpack; never a pickle.
"""

import struct
from typing import TypeAlias

import msgspec

from service.engine.messages import (
    Cancel,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    Pause,
    Resume,
    Shutdown,
    StepOutput,
    Submit,
)
from service.engine.questions import Answer, DropQuestion, Question

__all__ = [
    "LENGTH_BYTES",
    "MAX_FRAME_BYTES",
    "FromEngine",
    "ToEngine",
    "decode_from_engine",
    "decode_to_engine",
    "encode_frame",
    "frame_length",
]

ToEngine: TypeAlias = Load | Submit | Cancel | Pause | Resume | Shutdown | Question | DropQuestion
FromEngine: TypeAlias = Loaded | LoadFailed | StepOutput | Heartbeat | Answer

# A step of a full batch is some kilobytes and the longest prompt a few megabytes; more is a fault.
MAX_FRAME_BYTES = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size

_encoder = msgspec.msgpack.Encoder()
_to_engine: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(ToEngine)
_from_engine: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(FromEngine)


def encode_frame(message: ToEngine | FromEngine) -> bytes:
    """Length and content of one message."""
    body = _encoder.encode(message)
    assert len(body) <= MAX_FRAME_BYTES
    return _LENGTH.pack(len(body)) + body


def frame_length(data: bytes | bytearray, at: int = 0) -> int:
    """Length of the content that follows a four-byte prefix, which begins at a byte.

    Raises:
        ValueError: It is above MAX_FRAME_BYTES, so the stream is not ours.
    """
    (length,) = _LENGTH.unpack_from(data, at)
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes is above {MAX_FRAME_BYTES}")
    return length


def decode_to_engine(body: bytes | bytearray) -> ToEngine:
    """The content of a frame that the front sent."""
    return _to_engine.decode(body)


def decode_from_engine(body: bytes | bytearray) -> FromEngine:
    """The content of a frame that an engine sent."""
    return _from_engine.decode(body)
