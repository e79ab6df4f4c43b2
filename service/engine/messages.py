"""What the front and an engine process say to each other, and how a message becomes bytes.

Torch-free. Frames on a socket pair: four bytes of length, then msgpack; never a pickle. Tokens
only: no text crosses this border.
"""

import enum
import struct
from typing import TypeAlias

import msgspec

__all__ = [
    "LENGTH_BYTES",
    "MAX_FRAME_BYTES",
    "Cancel",
    "EngineFinish",
    "FromEngine",
    "Heartbeat",
    "Load",
    "LoadFailed",
    "Loaded",
    "Phase",
    "Shutdown",
    "StepOutput",
    "Submit",
    "ToEngine",
    "TokenOutput",
    "decode_from_engine",
    "decode_to_engine",
    "encode_frame",
    "frame_length",
]

# A step of a full batch is some kilobytes and the longest prompt a few megabytes; more is a fault.
MAX_FRAME_BYTES = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size


class EngineFinish(enum.StrEnum):
    """Why the engine ended a request."""

    END_OF_TEXT = "end_of_text"
    STOP = "stop"
    LENGTH = "length"
    NUMERICAL_ERROR = "numerical_error"
    INTERNAL_ERROR = "internal_error"


class Phase(enum.StrEnum):
    """What an engine process is doing; the front judges its silence by it."""

    IDLE = "idle"
    STEPPING = "stepping"


class Load(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """First message to an engine: which model, and how.

    Attributes:
        directory: Artifact folder, absolute.
        device: A torch device, or "auto".
        dtype: "auto", "f32" or "bf16".
        num_threads: Compute threads.
        max_running: Requests computed at once.
        max_context_tokens: Context to offer at most; None is the model's own.
    """

    directory: str
    device: str
    dtype: str
    num_threads: int
    max_running: int
    max_context_tokens: int | None


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One request. The names are those of the proto's SamplingParameters.

    Attributes:
        request_id: The front's own number, never used twice.
        prompt_ids: At least one.
        end_token_ids: Tokens that end the text by the model's own will; empty with ignore_eos.
        logit_bias: Pairs of token id and what is added to its logit.
    """

    request_id: int
    prompt_ids: list[int]
    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    end_token_ids: tuple[int, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """The client of a request is gone; an id that is unknown or finished is no error."""

    request_id: int


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Leave now."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model is in memory and has computed a first token.

    Attributes:
        context_tokens: Longest prompt that is accepted.
        load_seconds: From the start of the process.
    """

    context_tokens: int
    num_parameters: int
    device: str
    dtype: str
    kv_cache_bytes: int
    load_seconds: float


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be served; the text is for the operator."""

    message: str


class TokenOutput(msgspec.Struct, frozen=True, array_like=True):
    """What one step gave one request: tokens to deliver, and its end when it ended."""

    request_id: int
    token_ids: list[int]
    finish: EngineFinish | None = None


class StepOutput(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One step for the whole batch.

    Attributes:
        step: Number of steps since the start.
        started_ids: Requests that entered the batch in this step.
        num_tokens: Tokens computed, prompts included.
        seconds: What the step took.
    """

    step: int
    outputs: list[TokenOutput]
    started_ids: list[int]
    num_running: int
    num_waiting: int
    num_tokens: int
    seconds: float


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Sent a few times a second by a thread of its own: the process lives, and where it is."""

    step: int
    phase: Phase
    num_running: int
    num_waiting: int


ToEngine: TypeAlias = Load | Submit | Cancel | Shutdown
FromEngine: TypeAlias = Loaded | LoadFailed | StepOutput | Heartbeat

_encoder = msgspec.msgpack.Encoder()
_to_engine: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(
    Load | Submit | Cancel | Shutdown
)
_from_engine: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(
    Loaded | LoadFailed | StepOutput | Heartbeat
)


def encode_frame(message: ToEngine | FromEngine) -> bytes:
    """Length and content of one message."""
    body = _encoder.encode(message)
    assert len(body) <= MAX_FRAME_BYTES
    return _LENGTH.pack(len(body)) + body


def frame_length(prefix: bytes) -> int:
    """Length of the content that follows a four-byte prefix.

    Raises:
        ValueError: It is above MAX_FRAME_BYTES, so the stream is not ours.
    """
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes is above {MAX_FRAME_BYTES}")
    return length


def decode_to_engine(body: bytes) -> ToEngine:
    """The content of a frame that the front sent."""
    return _to_engine.decode(body)


def decode_from_engine(body: bytes) -> FromEngine:
    """The content of a frame that an engine sent."""
    return _from_engine.decode(body)
