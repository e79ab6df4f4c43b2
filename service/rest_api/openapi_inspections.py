"""JSON schemas of what the glass box answers, and of the inspections in generated answers."""

from service.engine.messages import ModelKind
from service.glass_box.choosing_parameters import OTHER_PARAMETERS
from service.glass_box.inspection import SamplingStage
from service.rest_api.openapi_answers import (
    COUNT,
    FLAG,
    IDS,
    TEXT,
    array_of,
    object_schema,
    or_null,
    parameters_schema,
    reference,
)
from service.rest_api.openapi_requests import Schema

__all__ = ["GLASS_BOX_SCHEMAS"]

_NUMBER: Schema = {"type": "number"}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_POSITIVE: Schema = {"type": "integer", "minimum": 1}
_STAGE: Schema = {"enum": [str(stage) for stage in SamplingStage]}
_MODEL: dict[str, Schema] = {"model": TEXT, "model_version": TEXT}
_COMPUTED: dict[str, Schema] = {
    **_MODEL,
    "system_fingerprint": {**TEXT, "description": "Executor, device and dtype."},
}
_PLACED: dict[str, Schema] = {
    "token": reference("TokenView"),
    "byte_start": {**COUNT, "description": "In the bytes that all tokens of the text stand for."},
    "byte_end": COUNT,
}
_INSPECTIONS = array_of(reference("TokenInspection"))
_PARAMETERS = parameters_schema(without=OTHER_PARAMETERS)

GLASS_BOX_SCHEMAS: dict[str, Schema] = {
    "TokenView": object_schema(
        {
            "id": COUNT,
            "text": {**TEXT, "description": "Hex for bytes that are no whole character."},
            "bytes": array_of({"type": "integer", "minimum": 0, "maximum": 255}),
            "is_control": FLAG,
        }
    ),
    "TextToken": object_schema(_PLACED),
    "TokenInspection": object_schema(
        {
            "position": COUNT,
            **_PLACED,
            "ends_text": {
                **FLAG,
                "description": "Whether it ended the text, and is no part of it.",
            },
            "stages": array_of(
                object_schema(
                    {
                        "stage": _STAGE,
                        "num_kept": {**_POSITIVE, "description": "Tokens that can be drawn."},
                        "entropy_bits": {"type": "number", "minimum": 0},
                        "other_probability": {
                            **_SHARE,
                            "description": "Of all but the candidates.",
                        },
                    }
                )
            ),
            "candidates": array_of(reference("Candidate")),
            "random_word": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
            "random_number": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
            "drawn_token": reference("TokenView"),
            "rank": {**_POSITIVE, "description": "By the raw logits."},
            "surprise_bits": {"type": "number", "minimum": 0},
            "chosen_probability": _SHARE,
            "logits": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "32-bit little-endian floats by token id; empty unless asked for.",
            },
            "ngram": or_null(reference("NgramInspection")),
        }
    ),
    "Candidate": object_schema(
        {
            "token": reference("TokenView"),
            "logit": _NUMBER,
            "changed_logit": {**or_null(_NUMBER), "description": "Null where it is banned."},
            "probabilities": {**array_of(_SHARE), "description": "After each stage."},
            "removed_by": {**or_null(_STAGE), "description": "Null where it can be drawn."},
            "line_start": {**_SHARE, "description": "Of its stretch of the line from 0 to 1."},
            "line_end": _SHARE,
        }
    ),
    "NgramInspection": object_schema(
        {
            "order": {**_POSITIVE, "description": "It looks at one token fewer."},
            "window": array_of(reference("TokenView")),
            "levels": {
                **array_of(
                    object_schema(
                        {
                            "order": _POSITIVE,
                            "context_ids": IDS,
                            "is_known_context": FLAG,
                            "num_continuations": COUNT,
                            "discounted_count": {"type": "number", "minimum": 0},
                            "discounted_total": {"type": "number", "minimum": 0},
                            "backoff": _SHARE,
                            "probability": _SHARE,
                        }
                    )
                ),
                "description": "From the shortest context on.",
            },
        }
    ),
    "TextInspection": object_schema(
        {
            **_COMPUTED,
            "tokens": array_of(reference("TextToken")),
            "inspections": _INSPECTIONS,
            "parameters": _PARAMETERS,
        }
    ),
    "Resampled": object_schema(
        {**_MODEL, "inspections": _INSPECTIONS, "parameters": array_of(_PARAMETERS)}
    ),
    "Attention": object_schema(
        {
            **_COMPUTED,
            "tokens": array_of(reference("TextToken")),
            "start": COUNT,
            "end": COUNT,
            "maps": array_of(
                object_schema(
                    {
                        "layer": COUNT,
                        "head": COUNT,
                        "rows": {
                            **array_of(array_of({"type": "number", "minimum": 0})),
                            "description": "For each position from start to end, the share of each "
                            "token from the first to this one.",
                        },
                    }
                )
            ),
            "num_layers": COUNT,
            "num_heads": COUNT,
        }
    ),
    "TokenEmbedding": object_schema(
        {
            **_MODEL,
            "token": reference("TokenView"),
            "vector": array_of(_NUMBER),
            "norm": {"type": "number", "minimum": 0},
            "neighbours": array_of(
                object_schema(
                    {
                        "token": reference("TokenView"),
                        "cosine": _NUMBER,
                    }
                )
            ),
        }
    ),
    "TextEmbedding": object_schema(
        {**_COMPUTED, "vector": array_of(_NUMBER), "num_tokens": _POSITIVE}
    ),
    "Scores": object_schema(
        {
            "scores": array_of(
                object_schema(
                    {
                        **_MODEL,
                        "kind": {"enum": [str(kind) for kind in ModelKind]},
                        "num_tokens": _POSITIVE,
                        "num_bytes": COUNT,
                        "nats_per_token": {"type": "number", "minimum": 0},
                        "perplexity": {"type": "number", "minimum": 1},
                        "bits_per_byte": {"type": "number", "minimum": 0},
                        "total_bits": {"type": "number", "minimum": 0},
                        "tokens": array_of(
                            object_schema(
                                {
                                    **_PLACED,
                                    "surprise_bits": {"type": "number", "minimum": 0},
                                    "rank": _POSITIVE,
                                }
                            )
                        ),
                    }
                )
            )
        }
    ),
}
