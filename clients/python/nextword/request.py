"""What a program asks for: a prompt, and how tokens are chosen. Absent is the model's default."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from nextword.errors import ErrorFacts, InvalidRequestError

__all__ = [
    "GRACE_SECONDS",
    "GenerationRequest",
    "InspectionRequest",
    "SamplingParameters",
    "check_timeout",
]

# A deadline is the server's to tell; this long after it, a client gives up without its word.
GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParameters:
    """How tokens are chosen, in the words of the wire; None is the server's default.

    In an answer every field that was in force is set. Limits are the server's to check:
    `proto/nextword/v1` names them.

    Attributes:
        max_tokens: Tokens to make at most.
        min_tokens: Tokens before which nothing ends the text.
        temperature: Divides the logits; below 0.00001 the likeliest token is taken.
        top_k: Only so many of the likeliest tokens; 0 is off.
        top_p: Only the likeliest tokens that reach this probability together; 1 is off.
        min_p: Only tokens at least this fraction as likely as the likeliest; 0 is off.
        repetition_penalty: Makes tokens of prompt and text less likely; 1 is off.
        presence_penalty: Taken from the logit of every token in the text; 0 is off.
        frequency_penalty: Taken once for each time the token is in the text; 0 is off.
        seed: Chooses the random numbers, from 0 to 2^64 - 1.
        stop: Strings that end the text before them.
        stop_token_ids: Tokens that end the text before them.
        n: Number of continuations.
        logit_bias: Added to the logits of these token ids.
        logprobs: Number of likeliest rivals to report beside each token.
        echo: Whether the answer repeats the prompt.
        ignore_eos: Whether the end-of-text token is one like any other.
    """

    max_tokens: int | None = None
    min_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: Sequence[str] | None = None
    stop_token_ids: Sequence[int] | None = None
    n: int | None = None
    logit_bias: Mapping[int, float] | None = None
    logprobs: int | None = None
    echo: bool | None = None
    ignore_eos: bool | None = None

    def given(self) -> dict[str, object]:
        """The fields that are set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionRequest:
    """How much an inspection tells.

    Attributes:
        candidates: Tokens to list for each position.
        logits: Whether to give the raw logits of the whole vocabulary.
    """

    candidates: int = 10
    logits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One request for a continuation.

    Attributes:
        prompt: A text, or token ids that are taken as they are.
        parameters: How tokens are chosen.
        model: NAME or NAME@VERSION; None is the server's default model.
        timeout_seconds: When the server gives up, and this client soon after it.
        parse_special_tokens: Whether names of control tokens in the text are those tokens.
        inspect: What to tell of how each token was chosen; None is nothing.
    """

    prompt: str | Sequence[int]
    parameters: SamplingParameters = SamplingParameters()
    model: str | None = None
    timeout_seconds: float = 600.0
    parse_special_tokens: bool = False
    inspect: InspectionRequest | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be waited for.

        Raises:
            InvalidRequestError: The timeout is no positive number.
        """
        check_timeout(self.timeout_seconds)


def check_timeout(seconds: float) -> None:
    """Refuse a time that cannot be waited for.

    Raises:
        InvalidRequestError: It is no positive number.
    """
    if not 0 < seconds < math.inf:
        raise InvalidRequestError(
            f"timeout_seconds must be above 0, got {seconds}",
            facts=ErrorFacts(code="invalid_value", status=400, field="timeout_seconds"),
        )
