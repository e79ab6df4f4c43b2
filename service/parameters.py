"""How tokens are chosen: the one place that checks and resolves sampling parameters.

Both transports bring what the client set (`RequestedParameters`, None where it set nothing) and get
back what is in force (`EffectiveParameters`), or a RequestError naming the field.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from service.errors import ErrorKind, RequestError, invalid_value
from service.parameter_rules import MAX_CHOICES, PARAMETER_RULES

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "EffectiveParameters",
    "ModelDefaults",
    "RequestedParameters",
    "check_num_choices",
    "check_num_reports",
    "check_token_ids",
    "num_reports",
    "resolve_parameters",
]

DEFAULT_MAX_TOKENS = 128
MAX_STOP_STRINGS = 4
MAX_STOP_BYTES = 256
MAX_STOP_TOKEN_IDS = 64
MAX_LOGIT_BIAS_ENTRIES = 300
# Tokens and rivals with logprobs in one answer: some tens of megabytes of JSON.
MAX_REPORTS = 2**18
# Seeds drawn here survive JSON readers that keep numbers as doubles.
DRAWN_SEED_BITS = 53

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedParameters:
    """What a client set; None is "not set"."""

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
    stop: tuple[str, ...] | None = None
    stop_token_ids: tuple[int, ...] | None = None
    n: int | None = None
    logit_bias: Mapping[int, float] | None = None
    logprobs: int | None = None
    echo: bool | None = None
    ignore_eos: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveParameters:
    """What is in force for one request."""

    max_tokens: int
    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int
    stop: tuple[str, ...]
    stop_token_ids: tuple[int, ...]
    n: int
    logit_bias: Mapping[int, float]
    logprobs: int | None
    echo: bool
    ignore_eos: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefaults:
    """What a model's generation_config.json says, for fields that a request leaves open."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


def resolve_parameters(
    requested: RequestedParameters,
    defaults: ModelDefaults,
    *,
    num_prompt_tokens: int,
    context_tokens: int,
    vocabulary_size: int,
) -> EffectiveParameters:
    """Check what was set and fill in the rest.

    Args:
        requested: What the client set.
        defaults: What the model says.
        num_prompt_tokens: Length of the prompt, at most ``context_tokens``.
        context_tokens: Tokens the model can read. The last token made is not read again, so
            prompt and continuation together may be one longer.
        vocabulary_size: Every token id is below it.

    Raises:
        RequestError: A value is out of range or too long for the context.
    """
    for rule in PARAMETER_RULES.values():
        value = getattr(requested, rule.name)
        if rule.kind in ("integer", "number") and value is not None:
            rule.check(value)
    _check_stop(requested.stop or ())
    _check_stop_ids(requested.stop_token_ids or (), vocabulary_size=vocabulary_size)
    _check_bias(requested.logit_bias or {}, vocabulary_size=vocabulary_size)
    room = context_tokens - num_prompt_tokens + 1
    max_tokens = min(defaults.max_tokens, room)
    if requested.max_tokens is not None:
        max_tokens = requested.max_tokens
    if max_tokens > room:
        raise RequestError(
            ErrorKind.CONTEXT_LENGTH_EXCEEDED,
            f"max_tokens must be at most {room}, what the context of {context_tokens} tokens "
            f"leaves after a prompt of {num_prompt_tokens}; got {max_tokens}",
            field="max_tokens",
            metadata={"n_prompt": str(num_prompt_tokens), "n_ctx": str(context_tokens)},
        )
    if max_tokens == 0 and not requested.echo:
        raise invalid_value("max_tokens", "must be at least 1 without echo, got 0")
    min_tokens = _or(requested.min_tokens, 0)
    if min_tokens > max_tokens:
        raise invalid_value(
            "min_tokens", f"must be at most max_tokens {max_tokens}, got {min_tokens}"
        )
    top_k = _or(requested.top_k, defaults.top_k)
    effective = EffectiveParameters(
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        temperature=_or(requested.temperature, defaults.temperature),
        # Off has one spelling from here on.
        top_k=0 if top_k <= 0 or top_k >= vocabulary_size else top_k,
        top_p=_or(requested.top_p, defaults.top_p),
        min_p=_or(requested.min_p, defaults.min_p),
        repetition_penalty=_or(requested.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=_or(requested.presence_penalty, 0.0),
        frequency_penalty=_or(requested.frequency_penalty, 0.0),
        seed=secrets.randbits(DRAWN_SEED_BITS) if requested.seed is None else requested.seed,
        stop=requested.stop or (),
        stop_token_ids=requested.stop_token_ids or (),
        n=_or(requested.n, 1),
        logit_bias=dict(requested.logit_bias or {}),
        logprobs=requested.logprobs,
        echo=_or(requested.echo, False),
        ignore_eos=_or(requested.ignore_eos, False),
    )
    check_num_reports(num_reports(effective, num_prompt_tokens=num_prompt_tokens))
    return effective


def check_num_choices(n: int | None, *, num_prompts: int = 1) -> None:
    """Refuse more continuations in one call than are offered: n of each of its prompts.

    Raises:
        RequestError: naming n, or prompt where one continuation of each is too many already.
    """
    if num_prompts > MAX_CHOICES:
        raise invalid_value("prompt", f"must be at most {MAX_CHOICES} texts, got {num_prompts}")
    if n is not None and n * num_prompts > MAX_CHOICES:
        raise invalid_value(
            "n", f"times the number of prompts must be at most {MAX_CHOICES}, got {n * num_prompts}"
        )


def num_reports(parameters: EffectiveParameters, *, num_prompt_tokens: int) -> int:
    """Tokens and rivals that the answer to one prompt reports at most."""
    if parameters.logprobs is None:
        return 0
    num_tokens = parameters.max_tokens + (num_prompt_tokens if parameters.echo else 0)
    return parameters.n * num_tokens * (1 + parameters.logprobs)


def check_num_reports(num_reported: int) -> None:
    """Refuse more tokens and rivals in one answer than are offered, of all its prompts together.

    Raises:
        RequestError: naming logprobs.
    """
    if num_reported > MAX_REPORTS:
        raise invalid_value(
            "logprobs",
            f"of all tokens and their rivals, times n and of all prompts, must be at most "
            f"{MAX_REPORTS} in one answer, got {num_reported}",
        )


def check_token_ids(field: str, ids: Iterable[int], *, vocabulary_size: int) -> None:
    """Refuse ids that the model does not have.

    Raises:
        RequestError: naming the field, the range and the first such id.
    """
    for token_id in ids:
        if not 0 <= token_id < vocabulary_size:
            raise invalid_value(
                field, f"must hold ids from 0 to {vocabulary_size - 1}, got {token_id}"
            )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _check_stop(stop: tuple[str, ...]) -> None:
    if len(stop) > MAX_STOP_STRINGS:
        raise invalid_value(
            "stop", f"must hold at most {MAX_STOP_STRINGS} strings, got {len(stop)}"
        )
    for text in stop:
        try:
            size = len(text.encode("utf-8"))
        except UnicodeEncodeError:
            raise invalid_value("stop", "holds a lone surrogate, which is no character") from None
        if not 1 <= size <= MAX_STOP_BYTES:
            raise invalid_value(
                "stop", f"must hold strings of 1 to {MAX_STOP_BYTES} bytes, got one of {size}"
            )


def _check_stop_ids(ids: tuple[int, ...], *, vocabulary_size: int) -> None:
    if len(ids) > MAX_STOP_TOKEN_IDS:
        raise invalid_value(
            "stop_token_ids", f"must hold at most {MAX_STOP_TOKEN_IDS} ids, got {len(ids)}"
        )
    check_token_ids("stop_token_ids", ids, vocabulary_size=vocabulary_size)


def _check_bias(bias: Mapping[int, float], *, vocabulary_size: int) -> None:
    if len(bias) > MAX_LOGIT_BIAS_ENTRIES:
        raise invalid_value(
            "logit_bias", f"must hold at most {MAX_LOGIT_BIAS_ENTRIES} entries, got {len(bias)}"
        )
    check_token_ids("logit_bias", bias, vocabulary_size=vocabulary_size)
    for value in bias.values():
        PARAMETER_RULES["logit_bias"].check(value)


assert list(PARAMETER_RULES) == [field.name for field in fields(RequestedParameters)]
