"""What the calls of the glass box ask and answer: the values between transports and core.

The words are those of proto/nextword/v1/glass_box.proto, which says what each of them means.
Torch-free.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.engine.messages import ModelKind
from service.glass_box.inspection import InspectionRequest, TokenInspection, TokenView
from service.parameters import EffectiveParameters, RequestedParameters

__all__ = [
    "AttentionAnswer",
    "AttentionMap",
    "AttentionRequest",
    "GivenText",
    "InspectTextRequest",
    "ResampleRequest",
    "Resampled",
    "ScoreRequest",
    "TextEmbedding",
    "TextInspection",
    "TextScore",
    "TextToken",
    "TimeLimit",
    "TokenEmbedding",
    "TokenEmbeddingRequest",
    "TokenNeighbour",
    "TokenSurprise",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimit:
    """When a call ends at the latest.

    Attributes:
        timeout_seconds: As the message says, None where it does not.
        deadline: The call's own as `time.monotonic` seconds, None where it has none.
    """

    timeout_seconds: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenText:
    """The model and the text that a call is about, as its message has them.

    Attributes:
        model: NAME or NAME@VERSION, None for the default.
        text: Exactly one of the two is to be set, which is checked later.
        ids: Token ids, taken as they are.
    """

    model: str | None
    text: str | None
    ids: tuple[int, ...] | None
    parse_special_tokens: bool = False
    limit: TimeLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToken:
    """A token of a text and its bytes in those that all tokens stand for."""

    token: TokenView
    byte_start: int
    byte_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectTextRequest:
    """Asks what a model thought before tokens of a text; None is "not set"."""

    given: GivenText
    start: int | None
    end: int | None
    num_prompt_tokens: int | None
    choice_index: int | None
    parameters: RequestedParameters
    inspect: InspectionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class TextInspection:
    """What a model thought before tokens of a text."""

    model: str
    model_version: str
    system_fingerprint: str
    tokens: tuple[TextToken, ...]
    inspections: tuple[TokenInspection, ...]
    parameters: EffectiveParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampleRequest:
    """Asks what would be drawn from given logits; None is "not set".

    Attributes:
        logits: f32 little-endian by token id.
        ids: All tokens before the one to draw.
        parameters: Ways to choose.
    """

    model: str | None
    logits: bytes
    ids: tuple[int, ...]
    num_prompt_tokens: int | None
    choice_index: int | None
    parameters: tuple[RequestedParameters, ...]
    inspect: InspectionRequest
    limit: TimeLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """What would be drawn, one inspection for each way to choose."""

    model: str
    model_version: str
    inspections: tuple[TokenInspection, ...]
    parameters: tuple[EffectiveParameters, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRequest:
    """Asks how much tokens looked at those before them; None is "not set", or all."""

    given: GivenText
    layers: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMap:
    """The attention of one head: a row for each position, position + 1 shares in each."""

    layer: int
    head: int
    rows: tuple[Sequence[float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionAnswer:
    """How much the tokens from start to before end looked at those before them."""

    model: str
    model_version: str
    system_fingerprint: str
    tokens: tuple[TextToken, ...]
    start: int
    end: int
    maps: tuple[AttentionMap, ...]
    num_layers: int
    num_heads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEmbeddingRequest:
    """Asks for the vector of a token; exactly one of id and text is to be set."""

    model: str | None
    id: int | None
    text: str | None
    neighbours: int | None
    limit: TimeLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNeighbour:
    """A token and the cosine of its vector with another one's."""

    token: TokenView
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEmbedding:
    """The vector of a token, and the tokens most like it."""

    model: str
    model_version: str
    token: TokenView
    vector: Sequence[float]
    norm: float
    neighbours: tuple[TokenNeighbour, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEmbedding:
    """One vector for a whole text, of length 1."""

    model: str
    model_version: str
    system_fingerprint: str
    vector: Sequence[float]
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """Asks how well a model predicts a text.

    Attributes:
        side_by_side: Whether to ask both models of the name.
        token_surprises: Whether to tell the surprise of each token.
    """

    given: GivenText
    side_by_side: bool = False
    token_surprises: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSurprise:
    """How much one token of a text surprised a model; rank 1 is the likeliest."""

    token: TokenView
    byte_start: int
    byte_end: int
    surprise_bits: float
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScore:
    """How well one model predicts a text.

    Attributes:
        tokens: One for each token of the text where they were asked for, else empty.
    """

    model: str
    model_version: str
    kind: ModelKind
    num_tokens: int
    num_bytes: int
    nats_per_token: float
    perplexity: float
    bits_per_byte: float
    total_bits: float
    tokens: tuple[TokenSurprise, ...] = field(default=())
