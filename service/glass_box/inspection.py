"""The values of inspections: how one token was chosen, stage by stage. Torch-free.

The words are those of proto/nextword/v1/token_inspection.proto, which says what each of them means.
"""

import enum
from dataclasses import dataclass

from service.errors import invalid_value

__all__ = [
    "MAX_ANSWERED_CANDIDATES",
    "MAX_ANSWERED_LOGITS",
    "MAX_CANDIDATES",
    "CandidateInspection",
    "InspectionRequest",
    "NgramInspection",
    "NgramLevel",
    "SamplingStage",
    "StageInspection",
    "TokenInspection",
    "TokenView",
    "check_inspection",
]

MAX_CANDIDATES = 1000
# Of one answer: some twenty megabytes of JSON, as much as logprobs may be.
MAX_ANSWERED_CANDIDATES = 2**16
MAX_ANSWERED_LOGITS = 2**18


class SamplingStage(enum.StrEnum):
    """A step from logits to a token, in the order in which they are taken."""

    MODEL = "model"
    PENALTIES = "penalties"
    BIAS = "bias"
    TEMPERATURE = "temperature"
    TOP_K = "top_k"
    TOP_P = "top_p"
    MIN_P = "min_p"


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionRequest:
    """How much an inspection tells.

    Attributes:
        candidates: Tokens to list for each position, from 1 to 1000.
        logits: Whether to give the raw logits of the whole vocabulary.
    """

    candidates: int = 10
    logits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A token of the vocabulary, readable.

    Attributes:
        text: Its characters, with hex for bytes that are no whole character; a control token's
            name.
        bytes: What it stands for, empty for a control token.
    """

    id: int
    text: str
    bytes: bytes
    is_control: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInspection:
    """The distribution after one stage.

    Attributes:
        num_kept: Tokens that can be drawn.
        other_probability: Of all tokens that are not among the candidates.
    """

    stage: SamplingStage
    num_kept: int
    entropy_bits: float
    other_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateInspection:
    """A token that might have come.

    Attributes:
        logit: Raw.
        changed_logit: After penalties and bias, None where it is banned.
        probabilities: After each stage.
        removed_by: The stage after which it could not be drawn, None where none removed it.
        line_start: Where its stretch of the line from 0 to 1 begins.
        line_end: Where it ends, exclusive.
    """

    token: TokenView
    logit: float
    changed_logit: float | None
    probabilities: tuple[float, ...]
    removed_by: SamplingStage | None
    line_start: float
    line_end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramLevel:
    """What one length of context contributed to a token's probability.

    Attributes:
        order: Tokens of context plus one.
        context_ids: Oldest token first.
        discounted_count: Of the token, as the model stores it.
        discounted_total: Of all tokens after the context.
        backoff: Share of the probability that the level before distributes.
        probability: With contexts up to this one.
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
    """How an n-gram model came to a token's probability; levels from the shortest context on."""

    order: int
    window: tuple[TokenView, ...]
    levels: tuple[NgramLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInspection:
    """One position of a text: what the model thought, what each stage left, what was drawn.

    Attributes:
        position: Among all tokens of prompt and continuation, from 0.
        token: The one that stands there: drawn, or given.
        byte_start: Where its bytes begin in those of all tokens.
        byte_end: Where they end, exclusive.
        ends_text: Whether it ended the text, and was neither delivered nor counted.
        stages: All seven.
        candidates: Likeliest first by the raw logits.
        random_word: From 0 to 2^32 - 1.
        drawn_token: What that number draws; `token` itself unless the text was given.
        rank: Of `token` by the raw logits, from 1.
        surprise_bits: Of `token` by the raw logits.
        chosen_probability: Of `token` in the last stage.
        logits: f32 little-endian by token id, empty unless asked for.
        ngram: None for other models.
    """

    position: int
    token: TokenView
    byte_start: int
    byte_end: int
    ends_text: bool
    stages: tuple[StageInspection, ...]
    candidates: tuple[CandidateInspection, ...]
    random_word: int
    drawn_token: TokenView
    rank: int
    surprise_bits: float
    chosen_probability: float
    logits: bytes = b""
    ngram: NgramInspection | None = None

    @property
    def random_number(self) -> float:
        """The word as a fraction, exact."""
        return self.random_word / 2**32


def check_inspection(
    inspect: InspectionRequest | None, *, num_positions: int, vocabulary_size: int
) -> None:
    """Refuse an inspection whose answer would be too large.

    Args:
        inspect: What is asked; None asks nothing.
        num_positions: Inspections of the whole answer, at most.
        vocabulary_size: Logits of each.

    Raises:
        RequestError: naming the field, the limit and what was asked.
    """
    if inspect is None:
        return
    if not 1 <= inspect.candidates <= MAX_CANDIDATES:
        raise invalid_value(
            "inspect.candidates", f"must be from 1 to {MAX_CANDIDATES}, got {inspect.candidates}"
        )
    # Beside the likeliest ones the token itself and the drawn one may stand.
    num_each = min(inspect.candidates + 2, vocabulary_size)
    if num_positions * num_each > MAX_ANSWERED_CANDIDATES:
        raise invalid_value(
            "inspect.candidates",
            f"of all inspected tokens together must be at most {MAX_ANSWERED_CANDIDATES} in one "
            f"answer, got up to {num_each} of each of up to {num_positions} tokens",
        )
    if inspect.logits and num_positions * vocabulary_size > MAX_ANSWERED_LOGITS:
        raise invalid_value(
            "inspect.logits",
            f"of all inspected tokens together must be at most {MAX_ANSWERED_LOGITS} in one "
            f"answer, got {vocabulary_size} of each of up to {num_positions} tokens",
        )
