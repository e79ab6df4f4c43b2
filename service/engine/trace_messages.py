"""How one token was chosen, as it crosses from an engine process to the front.

Torch-free, and tokens only. What there is one of for each candidate is packed as little-endian
numbers, since a single answer may hold tens of thousands.
"""

import msgspec

__all__ = [
    "STAGE_NAMES",
    "Inspection",
    "NgramLevel",
    "NgramTrace",
    "Resample",
    "SamplingSettings",
    "StageTrace",
    "TokenTrace",
]

# In the order of the sampler.
STAGE_NAMES = ("model", "penalties", "bias", "temperature", "top_k", "top_p", "min_p")


class Inspection(msgspec.Struct, frozen=True, array_like=True):
    """What a request wants to know of its choices.

    Attributes:
        num_candidates: Likeliest tokens to report of each position, at least 1.
        wants_logits: Whether to report the raw logits of the whole vocabulary.
        first_position: None inspects the tokens that are made; else the tokens of the prompt from
            this position on, at least 1, each as if it had been about to be chosen.
        num_prompt_ids: How many of the ids before an inspected token of the prompt count as the
            prompt, for what depends on the continuation; None is all.
        choice: Which continuation inspected tokens of the prompt count as.
    """

    num_candidates: int
    wants_logits: bool = False
    first_position: int | None = None
    num_prompt_ids: int | None = None
    choice: int = 0


class StageTrace(msgspec.Struct, frozen=True, array_like=True):
    """The distribution after one stage of the sampler.

    Attributes:
        num_kept: Tokens that can be drawn.
        entropy_bits: Of the distribution.
        other_probability: Of all tokens that are no candidates.
    """

    num_kept: int
    entropy_bits: float
    other_probability: float


class NgramLevel(msgspec.Struct, frozen=True, array_like=True):
    """What one length of context gave to the probability of a token.

    The probability is ``backoff`` times that of the level before plus (1 - ``backoff``) times
    ``discounted_count`` / ``discounted_total``; where the context is not known it is that of the
    level before, and of order 1 the model stores the probability itself.

    Attributes:
        order: Tokens of the context plus one.
        context_ids: The context, the oldest token first.
        is_known_context: Whether the model holds n-grams that continue the context.
        num_continuations: Different tokens that it holds after the context.
        discounted_count: Of the token after the context, as stored: discounted and rounded to one
            of at most 256 levels; the model holds no raw counts. 0 where the token is not held.
        discounted_total: Of all tokens held after the context.
        backoff: Share of the probability that the level before distributes, 1 where the context is
            not known.
        probability: Of the token with contexts up to this length.
    """

    order: int
    context_ids: list[int]
    is_known_context: bool
    num_continuations: int
    discounted_count: float
    discounted_total: float
    backoff: float
    probability: float


class NgramTrace(msgspec.Struct, frozen=True, array_like=True):
    """What an n-gram model looked at for one position, and what it held of one token there.

    Attributes:
        order: Longest n-gram of the model.
        window_ids: The tokens before the position that it looked at, the end-of-text token that
            stands before every text among them.
        levels: The shortest context first.
    """

    order: int
    window_ids: list[int]
    levels: list[NgramLevel]


class TokenTrace(msgspec.Struct, frozen=True, array_like=True):
    """From the model's logits to one token. Letters: K candidates, S stages, V vocabulary.

    Attributes:
        position: Where the token stands, counted from the start of the prompt.
        token_id: The token there: the one that was made, or the given one.
        drawn_id: What the random number chooses: ``token_id`` where it was made.
        random_word: From 0 to 2^32 - 1; ``random_word / 2^32`` lies in the drawn token's part of
            the line.
        rank: Of the token by the raw logits, 1 for the likeliest.
        surprise_bits: Minus the logarithm of its probability by the raw logits.
        probability: Of the token after the last stage, 0 where it cannot be drawn.
        stages: One for each of STAGE_NAMES.
        candidate_ids: u32 [K]: the likeliest tokens by the raw logits, likeliest first, the lower
            id on a tie; the token and the drawn one come last where they are not among them.
        candidate_logits: f32 [K], raw.
        changed_logits: f32 [K], after penalties and bias.
        probabilities: f64 [S, K].
        lines: f64 [2, K]: where each candidate's part of the line from 0 to 1 begins and ends, the
            probabilities of the last stage added up in id order.
        logits: f32 [V], raw, where wanted, else empty.
        ngram: Where the model is an n-gram model.
    """

    position: int
    token_id: int
    drawn_id: int
    random_word: int
    rank: int
    surprise_bits: float
    probability: float
    stages: list[StageTrace]
    candidate_ids: bytes
    candidate_logits: bytes
    changed_logits: bytes
    probabilities: bytes
    lines: bytes
    logits: bytes = b""
    ngram: NgramTrace | None = None


class SamplingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the sampler is told; the fields of a Submit that it reads, under the same names."""

    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int
    end_token_ids: tuple[int, ...]
    stop_token_ids: tuple[int, ...]
    logit_bias: tuple[tuple[int, float], ...]


class Resample(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Choose a token again, under other settings; no model computes anything.

    Attributes:
        logits: f32 [V], raw, without NaN, the largest finite.
        token_ids: What stands before the token.
        num_prompt_ids: How many of them are the prompt.
        choice: Which continuation of the prompt it is.
        settings: Under each of which to choose.
        inspection: What to report.
    """

    logits: bytes
    token_ids: list[int]
    num_prompt_ids: int
    choice: int
    settings: list[SamplingSettings]
    inspection: Inspection
