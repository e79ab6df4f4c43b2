"""The values of a generation: what is asked, and the pieces of what is answered."""

import enum
from dataclasses import dataclass

from service.parameters import EffectiveParameters, RequestedParameters

__all__ = ["FinishReason", "GenerationRequest", "Summary", "TextPiece", "Timings", "Usage"]


class FinishReason(enum.StrEnum):
    """Why a continuation ended."""

    END_OF_TEXT = "end_of_text"
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What a transport read from its message; exactly one of the two prompts is set.

    Attributes:
        model: NAME or NAME@VERSION, None for the default.
        deadline: The call's own deadline as `time.monotonic` seconds, None where it has none.
    """

    model: str | None
    prompt: str | None
    prompt_ids: tuple[int, ...] | None
    parameters: RequestedParameters
    timeout_seconds: float | None = None
    parse_special_tokens: bool = False
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and made."""

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
    """What the last piece says of the whole request."""

    id: str
    model: str
    model_version: str
    usage: Usage
    parameters: EffectiveParameters
    timings: Timings


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Text and tokens since the last piece; the last one has a reason and a summary."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    summary: Summary | None = None
