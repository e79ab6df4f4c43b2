"""How one token was chosen, stage by stage: what a server tells of a position of a text.

The words are those of proto/nextword/v1/token_inspection.proto, which says what each of them means.
"""

from dataclasses import dataclass

__all__ = [
    "CandidateInspection",
    "NgramInspection",
    "NgramLevel",
    "StageInspection",
    "TokenInspection",
    "TokenView",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A token of the vocabulary.

    Attributes:
        id: Its number in the vocabulary.
        text: What it stands for, with hex for bytes that are no whole character; a control token's
            name.
        bytes: The bytes it stands for; none for a control token.
        is_control: Whether it is one.
    """

    id: int
    text: str
    bytes: bytes
    is_control: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInspection:
    """The distribution after one stage of the sampler.

    Attributes:
        stage: ``model``, ``penalties``, ``bias``, ``temperature``, ``top_k``, ``top_p``, ``min_p``.
        num_kept: Tokens that can be drawn.
        entropy_bits: Its entropy.
        other_probability: Of all tokens that are not among the candidates.
    """

    stage: str
    num_kept: int
    entropy_bits: float
    other_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateInspection:
    """A token that might have come.

    Attributes:
        token: Which one.
        logit: Its raw logit.
        changed_logit: After penalties and bias; None where it is banned.
        probabilities: After each stage.
        removed_by: The stage after which it could not be drawn; None where none removed it.
        line_start: Where its stretch of the line from 0 to 1 begins.
        line_end: Where it ends, exclusive.
    """

    token: TokenView
    logit: float
    changed_logit: float | None
    probabilities: tuple[float, ...]
    removed_by: str | None
    line_start: float
    line_end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramLevel:
    """What one length of context gave to the probability of a token.

    Attributes:
        order: Tokens of context plus one.
        context_ids: The context, oldest token first.
        is_known_context: Whether the model holds anything after it.
        num_continuations: Different tokens that it holds after it.
        discounted_count: Of the token, as the model stores it.
        discounted_total: Of all tokens after the context.
        backoff: Share of the probability that the level before distributes.
        probability: Of the token with contexts up to this one.
    """

    order: int
    context_ids: tuple[int, ...]
    is_known_context: bool
    num_continuations: int
    discounted_count: float
    discounted_total: float
    backoff: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramInspection:
    """How an n-gram model came to a token's probability.

    Attributes:
        order: Longest n-gram of the model.
        window: The tokens that it looked at, oldest first.
        levels: What each length of context gave, the shortest first.
    """

    order: int
    window: tuple[TokenView, ...]
    levels: tuple[NgramLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInspection:
    """One position of a text.

    Attributes:
        position: Among all tokens of prompt and continuation, from 0.
        token: The one that stands there: drawn, or given.
        byte_start: Where its bytes begin in those of all tokens.
        byte_end: Where they end, exclusive.
        ends_text: Whether it ended the text, and is no part of it.
        stages: What each stage left, all seven.
        candidates: The likeliest tokens by the raw logits, likeliest first.
        random_word: The number that chose, from 0 to 2^32 - 1.
        random_number: The same as a fraction.
        drawn_token: What that number draws; `token` itself unless the text was given.
        rank: Of `token` by the raw logits, from 1.
        surprise_bits: Of `token` by the raw logits.
        chosen_probability: Of `token` in the last stage.
        logits: Raw logits by token id, packed little-endian f32; none unless asked for.
        ngram: How an n-gram model came to it; None for other models.
    """

    position: int
    token: TokenView
    byte_start: int
    byte_end: int
    ends_text: bool
    stages: tuple[StageInspection, ...]
    candidates: tuple[CandidateInspection, ...]
    random_word: int
    random_number: float
    drawn_token: TokenView
    rank: int
    surprise_bits: float
    chosen_probability: float
    logits: bytes
    ngram: NgramInspection | None
