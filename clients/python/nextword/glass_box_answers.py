"""What the glass box answers, as values that know no protocol.

The words are those of proto/nextword/v1/glass_box.proto, which says what each of them means.
"""

from dataclasses import dataclass

from nextword.inspections import TokenInspection, TokenView
from nextword.request import SamplingParameters

__all__ = [
    "Attention",
    "AttentionMap",
    "Resampled",
    "TextEmbedding",
    "TextInspection",
    "TextScore",
    "TextToken",
    "TokenEmbedding",
    "TokenNeighbour",
    "TokenSurprise",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToken:
    """A token of a text, and its bytes in those that all its tokens stand for."""

    token: TokenView
    byte_start: int
    byte_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextInspection:
    """What a model thought before tokens of a text.

    Attributes:
        tokens: All of the text.
        inspections: One for each position that was asked for.
        parameters: What was in force of those that choose a token.
    """

    model: str
    model_version: str
    system_fingerprint: str
    tokens: tuple[TextToken, ...]
    inspections: tuple[TokenInspection, ...]
    parameters: SamplingParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """What would have been drawn: an inspection for each set of parameters."""

    model: str
    model_version: str
    inspections: tuple[TokenInspection, ...]
    parameters: tuple[SamplingParameters, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMap:
    """The attention of one head: for each position the share of each token up to it."""

    layer: int
    head: int
    rows: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """How much the tokens from ``start`` to before ``end`` looked at those before them.

    Attributes:
        tokens: All of the text.
        maps: One for each layer and head that was asked for.
        num_layers: Layers that the model has.
        num_heads: Heads of each.
    """

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
class TokenNeighbour:
    """A token, and the cosine of its vector with another one's."""

    token: TokenView
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEmbedding:
    """The vector of a token, its length, and the tokens most like it."""

    model: str
    model_version: str
    token: TokenView
    vector: tuple[float, ...]
    norm: float
    neighbours: tuple[TokenNeighbour, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEmbedding:
    """One vector for a whole text, of length 1."""

    model: str
    model_version: str
    system_fingerprint: str
    vector: tuple[float, ...]
    num_tokens: int


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
        kind: ``transformer`` or ``ngram``.
        tokens: One for each token of the text, where they were asked for.
    """

    model: str
    model_version: str
    kind: str
    num_tokens: int
    num_bytes: int
    nats_per_token: float
    perplexity: float
    bits_per_byte: float
    total_bits: float
    tokens: tuple[TokenSurprise, ...]
