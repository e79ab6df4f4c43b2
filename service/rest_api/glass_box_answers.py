"""What the glass box answers, as JSON objects.

What is large in one is JSON already, made piece by piece: encoding all in one go would hold the
interpreter, and with it every stream, for as long as that takes.
"""

from dataclasses import asdict

from service.glass_box.choosing_parameters import OTHER_PARAMETERS
from service.glass_box.glass_box_values import (
    AttentionAnswer,
    AttentionMap,
    Resampled,
    TextEmbedding,
    TextInspection,
    TextScore,
    TextToken,
    TokenEmbedding,
    TokenSurprise,
)
from service.parameters import EffectiveParameters
from service.rest_api.inspection_messages import (
    inspection_object,
    raw_list,
    token_view_object,
)

__all__ = [
    "attention_object",
    "embedding_object",
    "inspected_object",
    "resampled_object",
    "scores_object",
    "text_embedding_object",
]


def inspected_object(answer: TextInspection) -> dict[str, object]:
    """The answer of /v1/inspect."""
    return {
        "model": answer.model,
        "model_version": answer.model_version,
        "system_fingerprint": answer.system_fingerprint,
        "tokens": raw_list(_text_token_object(token) for token in answer.tokens),
        "inspections": raw_list(inspection_object(each) for each in answer.inspections),
        "parameters": _parameters_object(answer.parameters),
    }


def resampled_object(answer: Resampled) -> dict[str, object]:
    """The answer of /v1/resample."""
    return {
        "model": answer.model,
        "model_version": answer.model_version,
        "inspections": raw_list(inspection_object(each) for each in answer.inspections),
        "parameters": [_parameters_object(each) for each in answer.parameters],
    }


def attention_object(answer: AttentionAnswer) -> dict[str, object]:
    """The answer of /v1/attention."""
    return {
        "model": answer.model,
        "model_version": answer.model_version,
        "system_fingerprint": answer.system_fingerprint,
        "tokens": raw_list(_text_token_object(token) for token in answer.tokens),
        "start": answer.start,
        "end": answer.end,
        "maps": raw_list(_map_object(each) for each in answer.maps),
        "num_layers": answer.num_layers,
        "num_heads": answer.num_heads,
    }


def embedding_object(answer: TokenEmbedding) -> dict[str, object]:
    """The answer of /v1/embedding."""
    return {
        "model": answer.model,
        "model_version": answer.model_version,
        "token": token_view_object(answer.token),
        "vector": list(answer.vector),
        "norm": answer.norm,
        "neighbours": [
            {"token": token_view_object(each.token), "cosine": each.cosine}
            for each in answer.neighbours
        ],
    }


def text_embedding_object(answer: TextEmbedding) -> dict[str, object]:
    """The answer of /v1/embed-text."""
    return {
        "model": answer.model,
        "model_version": answer.model_version,
        "system_fingerprint": answer.system_fingerprint,
        "vector": list(answer.vector),
        "num_tokens": answer.num_tokens,
    }


def scores_object(scores: tuple[TextScore, ...]) -> dict[str, object]:
    """The answer of /v1/score."""
    return {"scores": [_score_object(score) for score in scores]}


def _text_token_object(token: TextToken) -> dict[str, object]:
    return {
        "token": token_view_object(token.token),
        "byte_start": token.byte_start,
        "byte_end": token.byte_end,
    }


def _map_object(head: AttentionMap) -> dict[str, object]:
    rows = [list(row) for row in head.rows]
    return {"layer": head.layer, "head": head.head, "rows": rows}


def _parameters_object(parameters: EffectiveParameters) -> dict[str, object]:
    values = asdict(parameters)
    return {name: value for name, value in values.items() if name not in OTHER_PARAMETERS}


def _score_object(score: TextScore) -> dict[str, object]:
    return {
        "model": score.model,
        "model_version": score.model_version,
        "kind": score.kind,
        "num_tokens": score.num_tokens,
        "num_bytes": score.num_bytes,
        "nats_per_token": score.nats_per_token,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "total_bits": score.total_bits,
        "tokens": raw_list(_surprise_object(token) for token in score.tokens),
    }


def _surprise_object(token: TokenSurprise) -> dict[str, object]:
    return {
        "token": token_view_object(token.token),
        "byte_start": token.byte_start,
        "byte_end": token.byte_end,
        "surprise_bits": token.surprise_bits,
        "rank": token.rank,
    }
