"""The glass box's answers from their fields, whichever protocol brought them.

Each reader raises ProtocolError where an answer is none of ours.
"""

from nextword.glass_box_answers import (
    Attention,
    AttentionMap,
    Resampled,
    TextEmbedding,
    TextInspection,
    TextScore,
    TextToken,
    TokenEmbedding,
    TokenNeighbour,
    TokenSurprise,
)
from nextword.inspection_fields import read_inspections, read_view
from nextword.json_fields import JsonFields
from nextword.parameter_fields import read_parameters

__all__ = [
    "read_attention",
    "read_resampled",
    "read_scores",
    "read_text_embedding",
    "read_text_inspection",
    "read_token_embedding",
]


def read_text_inspection(values: JsonFields) -> TextInspection:
    """An answer of InspectText."""
    return TextInspection(
        model=values.text("model"),
        model_version=values.text("model_version"),
        system_fingerprint=values.text("system_fingerprint"),
        tokens=_text_tokens(values),
        inspections=read_inspections(values),
        parameters=read_parameters(values.object("parameters")),
    )


def read_resampled(values: JsonFields) -> Resampled:
    """An answer of Resample."""
    return Resampled(
        model=values.text("model"),
        model_version=values.text("model_version"),
        inspections=read_inspections(values),
        parameters=tuple(read_parameters(each) for each in values.objects("parameters")),
    )


def read_attention(values: JsonFields) -> Attention:
    """An answer of GetAttention."""
    return Attention(
        model=values.text("model"),
        model_version=values.text("model_version"),
        system_fingerprint=values.text("system_fingerprint"),
        tokens=_text_tokens(values),
        start=values.integer("start"),
        end=values.integer("end"),
        maps=tuple(
            AttentionMap(
                layer=each.integer("layer"),
                head=each.integer("head"),
                rows=each.rows_of_numbers("rows"),
            )
            for each in values.objects("maps")
        ),
        num_layers=values.integer("num_layers"),
        num_heads=values.integer("num_heads"),
    )


def read_token_embedding(values: JsonFields) -> TokenEmbedding:
    """An answer of GetTokenEmbedding."""
    return TokenEmbedding(
        model=values.text("model"),
        model_version=values.text("model_version"),
        token=read_view(values.object("token")),
        vector=values.numbers("vector"),
        norm=values.number("norm"),
        neighbours=tuple(
            TokenNeighbour(token=read_view(each.object("token")), cosine=each.number("cosine"))
            for each in values.objects("neighbours")
        ),
    )


def read_text_embedding(values: JsonFields) -> TextEmbedding:
    """An answer of EmbedText."""
    return TextEmbedding(
        model=values.text("model"),
        model_version=values.text("model_version"),
        system_fingerprint=values.text("system_fingerprint"),
        vector=values.numbers("vector"),
        num_tokens=values.integer("num_tokens"),
    )


def read_scores(values: JsonFields) -> tuple[TextScore, ...]:
    """An answer of ScoreText."""
    return tuple(_score(each) for each in values.objects("scores"))


def _text_tokens(values: JsonFields) -> tuple[TextToken, ...]:
    return tuple(
        TextToken(
            token=read_view(each.object("token")),
            byte_start=each.integer("byte_start"),
            byte_end=each.integer("byte_end"),
        )
        for each in values.objects("tokens")
    )


def _score(values: JsonFields) -> TextScore:
    return TextScore(
        model=values.text("model"),
        model_version=values.text("model_version"),
        kind=values.text("kind"),
        num_tokens=values.integer("num_tokens"),
        num_bytes=values.integer("num_bytes"),
        nats_per_token=values.number("nats_per_token"),
        perplexity=values.number("perplexity"),
        bits_per_byte=values.number("bits_per_byte"),
        total_bits=values.number("total_bits"),
        tokens=tuple(
            TokenSurprise(
                token=read_view(each.object("token")),
                byte_start=each.integer("byte_start"),
                byte_end=each.integer("byte_end"),
                surprise_bits=each.number("surprise_bits"),
                rank=each.integer("rank"),
            )
            for each in values.objects("tokens")
        ),
    )
