"""The values of a generation: what is asked, and the pieces of what is answered."""

import enum
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from service.chat.messages import ChatMessage
from service.glass_box.inspection import InspectionRequest, TokenInspection
from service.parameters import EffectiveParameters, ModelDefaults, RequestedParameters

__all__ = [
    "FinishReason",
    "GenerationRequest",
    "Rival",
    "Summary",
    "TextPiece",
    "Timings",
    "TokenReport",
    "Usage",
]

# A token that might have come instead: its id, its bytes and its logprob.
Rival: TypeAlias = tuple[int, bytes, float]


class FinishReason(enum.StrEnum):
    """Why a continuation ended."""

    END_OF_TEXT = "end_of_text"
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What a transport read from its message; exactly one of the prompts is set.

    Attributes:
        model: NAME or NAME@VERSION, None for the default.
        messages: A conversation to go on with, for models that have a chat template.
        defaults: What holds where the client set nothing; None means the model's own defaults.
        deadline: The call's own deadline as `time.monotonic` seconds, None where it has none.
        inspect: What to tell of how each token was chosen; None is nothing.
    """

    model: str | None
    prompt: str | None
    prompt_ids: tuple[int, ...] | None
    parameters: RequestedParameters
    defaults: ModelDefaults | None = None
    timeout_seconds: float | None = None
    parse_special_tokens: bool = False
    deadline: float | None = None
    inspect: InspectionRequest | None = None
    messages: tuple[ChatMessage, ...] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read once for all choices, and tokens made for all of them together."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Their sum."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since receipt at which the request entered the batch, had its first token, ended."""

    queue_seconds: float
    first_token_seconds: float | None
    total_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the very last piece says of the whole request.

    Attributes:
        system_fingerprint: Executor, device and dtype that computed it, as in "eager-cpu-f32".
    """

    id: str
    model: str
    model_version: str
    system_fingerprint: str
    usage: Usage
    parameters: EffectiveParameters
    timings: Timings


@dataclass(frozen=True, slots=True)
class TokenReport:
    """One token and how likely the model found it.

    Attributes:
        bytes: What it stands for, possibly a part of a character; empty for a control token.
        logprob: The raw log-softmax, before any parameter changed it, at least -9999; None for the
            first token of a prompt, which nothing precedes.
        rank: 1 for the likeliest token, None where `logprob` is.
        top: The likeliest tokens, likeliest first; the token itself may be among them.
    """

    token_id: int
    bytes: bytes
    logprob: float | None
    rank: int | None
    top: tuple[Rival, ...] = ()


class TextPiece(msgspec.Struct, frozen=True):
    """Text and tokens of one choice since its last piece; a Struct, as there is one a message.

    Each choice has one last piece, with its finish reason; the very last piece of the request has
    the summary as well.

    Attributes:
        choice: Which continuation of the prompt, from 0.
        reports: One for each of `token_ids` when logprobs were asked for, else none.
        is_prompt: Whether this is the prompt itself, which comes first of each choice with echo.
        inspections: When they were asked for, one for each of `token_ids`, and on the last piece
            one more for the token that ended the text, where one did.
    """

    choice: int
    text: str
    token_ids: tuple[int, ...]
    reports: tuple[TokenReport, ...] = ()
    finish_reason: FinishReason | None = None
    summary: Summary | None = None
    is_prompt: bool = False
    inspections: tuple[TokenInspection, ...] = ()
