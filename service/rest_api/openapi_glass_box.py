"""The glass box's routes on the OpenAPI page."""

from service.glass_box.choosing_parameters import OTHER_PARAMETERS
from service.glass_box.glass_box import MAX_RESAMPLINGS
from service.glass_box.inside_view import MAX_NEIGHBOURS
from service.parameter_rules import MAX_CHOICES
from service.rest_api.openapi_answers import reference
from service.rest_api.openapi_operations import OF_GENERATION, json_content, post_operation
from service.rest_api.openapi_requests import (
    INSPECT_FIELD,
    MODEL_FIELD,
    PARAMETER_SCHEMAS,
    PARSE_FIELD,
    TIMEOUT_FIELD,
    Schema,
    body_schema,
    one_of_two,
    optional_field,
)

__all__ = ["GLASS_BOX_PATHS"]

_CHOOSING = {
    name: schema for name, schema in PARAMETER_SCHEMAS.items() if name not in OTHER_PARAMETERS
}
_TEXT_FIELDS: dict[str, Schema] = {
    "model": MODEL_FIELD,
    "text": optional_field("string", "The text."),
    "ids": optional_field(
        "array",
        "Its token ids, instead of the text; nothing is put before them.",
        items={"type": "integer", "minimum": 0},
    ),
    "timeout_seconds": TIMEOUT_FIELD,
}
_PARSED_FIELDS = {**_TEXT_FIELDS, "parse_special_tokens": PARSE_FIELD}
_CHOICE_FIELDS: dict[str, Schema] = {
    "num_prompt_tokens": optional_field(
        "integer", "Tokens that count as the prompt; by default all of them.", minimum=0
    ),
    "choice_index": optional_field(
        "integer",
        "Which continuation of its prompt the text is; by default 0.",
        minimum=0,
        maximum=MAX_CHOICES - 1,
    ),
    "inspect": INSPECT_FIELD,
}


def _numbers(description: str) -> Schema:
    items: Schema = {"type": "integer", "minimum": 0}
    return optional_field("array", description, items=items, uniqueItems=True)


def _of_text(fields: dict[str, Schema]) -> Schema:
    return {**body_schema(fields, []), "oneOf": one_of_two("text", "ids")}


def _call(
    summary: str, *, body: Schema, answer: str, examples: dict[str, Schema]
) -> dict[str, Schema]:
    return {
        "post": post_operation(
            "glass box",
            summary,
            body=body,
            examples=examples,
            content=json_content(reference(answer)),
            errors=OF_GENERATION,
        )
    }


GLASS_BOX_PATHS: dict[str, dict[str, Schema]] = {
    "/v1/inspect": _call(
        "What the model thought before each token of a text.",
        body=_of_text(
            {
                **_PARSED_FIELDS,
                "start": optional_field("integer", "First position; by default 1.", minimum=1),
                "end": optional_field(
                    "integer", "End of the positions, exclusive; by default all.", minimum=2
                ),
                **_CHOICE_FIELDS,
                **_CHOOSING,
            }
        ),
        answer="TextInspection",
        examples={
            "a text": {
                "text": "Once upon a time",
                "inspect": {"candidates": 3},
                "temperature": 0.7,
            },
            "one token": {"ids": [1, 2, 3], "start": 2, "end": 3, "seed": 7},
        },
    ),
    "/v1/resample": _call(
        "What would have been drawn with other parameters; the model does not run.",
        body=body_schema(
            {
                "model": MODEL_FIELD,
                "logits": {
                    "type": "string",
                    "contentEncoding": "base64",
                    "description": "Raw logits as inspections give them: 32-bit little-endian "
                    "floats by token id.",
                },
                "ids": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": 1,
                    "description": "All tokens before the one to draw.",
                },
                "parameters": {
                    "type": "array",
                    "items": body_schema(_CHOOSING, []),
                    "minItems": 1,
                    "maxItems": MAX_RESAMPLINGS,
                    "description": "Ways to choose.",
                },
                **_CHOICE_FIELDS,
                "timeout_seconds": TIMEOUT_FIELD,
            },
            ["logits", "ids", "parameters"],
        ),
        answer="Resampled",
        # Logits are as many as the vocabulary of the model that is served.
        examples={},
    ),
    "/v1/attention": _call(
        "How much each token looked at those before it.",
        body=_of_text(
            {
                **_PARSED_FIELDS,
                "layers": _numbers("Layers from 0; by default all."),
                "heads": _numbers("Heads of each layer from 0; by default all."),
                "start": optional_field("integer", "First position; by default 0.", minimum=0),
                "end": optional_field(
                    "integer", "End of the positions, exclusive; by default all.", minimum=1
                ),
            }
        ),
        answer="Attention",
        examples={"one head": {"text": "Once upon a time", "layers": [0], "heads": [0]}},
    ),
    "/v1/embedding": _call(
        "The vector of a token, and the tokens most like it.",
        body={
            **body_schema(
                {
                    "model": MODEL_FIELD,
                    "id": optional_field("integer", "A token id.", minimum=0),
                    "text": optional_field("string", "A text that is exactly one token."),
                    "neighbours": optional_field(
                        "integer",
                        "Tokens to list; by default 10.",
                        minimum=0,
                        maximum=MAX_NEIGHBOURS,
                    ),
                    "timeout_seconds": TIMEOUT_FIELD,
                },
                [],
            ),
            "oneOf": one_of_two("id", "text"),
        },
        answer="TokenEmbedding",
        examples={"a token": {"id": 5, "neighbours": 3}},
    ),
    "/v1/embed-text": _call(
        "One vector for a whole text.",
        body=_of_text(_PARSED_FIELDS),
        answer="TextEmbedding",
        examples={"a text": {"text": "Once upon a time"}},
    ),
    "/v1/score": _call(
        "How well a model predicts a text.",
        body=_of_text(
            {
                **_TEXT_FIELDS,
                "side_by_side": optional_field(
                    "boolean", "Ask both models of the name; by default false."
                ),
                "token_surprises": optional_field(
                    "boolean", "Tell the surprise of each token; by default false."
                ),
            }
        ),
        answer="Scores",
        examples={"a text": {"text": "Once upon a time", "token_surprises": True}},
    ),
}
