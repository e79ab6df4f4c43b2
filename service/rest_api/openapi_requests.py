"""JSON schemas of request bodies; the parameters come from their one table."""

from typing import TypeAlias

from service.glass_box.inspection import MAX_CANDIDATES
from service.parameter_rules import PARAMETER_RULES, Kind, ParameterRule

__all__ = [
    "DETOKENIZE_BODY",
    "GENERATE_BODY",
    "INSPECT_FIELD",
    "MODEL_FIELD",
    "PARAMETER_SCHEMAS",
    "PARSE_FIELD",
    "STREAM_FIELD",
    "TIMEOUT_FIELD",
    "TOKENIZE_BODY",
    "Schema",
    "body_schema",
    "one_of_two",
    "optional_field",
]

Schema: TypeAlias = dict[str, object]

_INT64_MAX = 2**63 - 1

_TYPES: dict[Kind, Schema] = {
    "integer": {"type": ["integer", "null"]},
    "number": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "strings": {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 4},
            {"type": "null"},
        ]
    },
    "integers": {"type": ["array", "null"], "items": {"type": "integer"}, "maxItems": 64},
    "bias": {
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        "maxProperties": 300,
    },
}


def optional_field(kind: str, description: str, **more: object) -> Schema:
    """A field that may be null or absent."""
    return {"type": [kind, "null"], "description": description, **more}


def _parameter(rule: ParameterRule) -> Schema:
    schema: Schema = {**_TYPES[rule.kind], "description": rule.description}
    if rule.kind in ("integer", "number") and rule.minimum is not None:
        schema["exclusiveMinimum" if rule.above_minimum else "minimum"] = rule.minimum
        schema["maximum"] = rule.maximum
    return schema


def body_schema(
    properties: dict[str, Schema], required: list[str], *, is_open: bool = False
) -> Schema:
    """An object, closed unless it is said to be open."""
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": is_open,
    }


_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
PARAMETER_SCHEMAS = {rule.name: _parameter(rule) for rule in PARAMETER_RULES.values()}
MODEL_FIELD = optional_field(
    "string", "NAME or NAME@VERSION; by default the server's default model."
)
STREAM_FIELD = optional_field("boolean", "Send text as it is made, as server-sent events.")

TIMEOUT_FIELD = optional_field(
    "number",
    "When to give up with 504; by default 600.",
    exclusiveMinimum=0,
    maximum=86400,
)
PARSE_FIELD = optional_field(
    "boolean",
    "Read control tokens' strings in the text as those tokens; by default they are ordinary text.",
)
INSPECT_FIELD = optional_field(
    "object",
    "Tell how each token was chosen; not with --glass-box off.",
    properties={
        "candidates": optional_field(
            "integer",
            "Likeliest tokens to list for each; by default 10.",
            minimum=1,
            maximum=MAX_CANDIDATES,
        ),
        "logits": optional_field("boolean", "Give the raw logits; by default false."),
    },
    additionalProperties=False,
)


def one_of_two(first: str, second: str) -> list[Schema]:
    """What exactly one of two fields must be: given."""
    return [
        {"required": [given], "properties": {given: {"not": {"type": "null"}}}}
        for given in (first, second)
    ]


GENERATE_BODY: Schema = {
    **body_schema(
        {
            "model": MODEL_FIELD,
            "prompt": optional_field("string", "The text to continue."),
            "prompt_ids": optional_field(
                "array",
                "Token ids to continue, instead of a text; nothing is put before them.",
                items={"type": "integer", "minimum": 0},
            ),
            **PARAMETER_SCHEMAS,
            "stream": STREAM_FIELD,
            "timeout_seconds": TIMEOUT_FIELD,
            "parse_special_tokens": PARSE_FIELD,
            "inspect": INSPECT_FIELD,
        },
        [],
    ),
    "oneOf": one_of_two("prompt", "prompt_ids"),
}
TOKENIZE_BODY = body_schema(
    {"model": MODEL_FIELD, "text": {"type": "string", "description": "May be empty."}}, ["text"]
)
DETOKENIZE_BODY = body_schema(
    {
        "model": MODEL_FIELD,
        "ids": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": _INT64_MAX},
            "description": "Token ids of the model's vocabulary.",
        },
    },
    ["ids"],
)
