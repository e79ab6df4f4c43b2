"""JSON schemas of request bodies; the parameters come from their one table."""

from typing import TypeAlias

from service.parameter_rules import PARAMETER_RULES, Kind, ParameterRule

__all__ = ["COMPLETIONS_BODY", "DETOKENIZE_BODY", "GENERATE_BODY", "TOKENIZE_BODY", "Schema"]

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


def _optional(kind: str, description: str, **more: object) -> Schema:
    return {"type": [kind, "null"], "description": description, **more}


def _parameter(rule: ParameterRule) -> Schema:
    schema: Schema = {**_TYPES[rule.kind], "description": rule.description}
    if rule.kind in ("integer", "number") and rule.minimum is not None:
        schema["exclusiveMinimum" if rule.above_minimum else "minimum"] = rule.minimum
        schema["maximum"] = rule.maximum
    return schema


def _body(properties: dict[str, Schema], required: list[str], *, is_open: bool = False) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": is_open,
    }


_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_PARAMETERS = {rule.name: _parameter(rule) for rule in PARAMETER_RULES.values()}
_MODEL = _optional("string", "NAME or NAME@VERSION; by default the server's default model.")
_STREAM = _optional("boolean", "Send text as it is made, as server-sent events.")

GENERATE_BODY: Schema = {
    **_body(
        {
            "model": _MODEL,
            "prompt": _optional("string", "The text to continue."),
            "prompt_ids": _optional(
                "array",
                "Token ids to continue, instead of a text; nothing is put before them.",
                items={"type": "integer", "minimum": 0},
            ),
            **_PARAMETERS,
            "stream": _STREAM,
            "timeout_seconds": _optional(
                "number",
                "When to give up with 504; by default 600.",
                exclusiveMinimum=0,
                maximum=86400,
            ),
            "parse_special_tokens": _optional(
                "boolean",
                "Read control tokens' strings in the prompt as those tokens; by default they are "
                "ordinary text.",
            ),
        },
        [],
    ),
    "oneOf": [
        {"required": [given], "properties": {given: {"not": {"type": "null"}}}}
        for given in ("prompt", "prompt_ids")
    ],
}
COMPLETIONS_BODY = _body(
    {
        "model": _MODEL,
        "prompt": {
            "description": "A text, texts, token ids or lists of token ids; at most 128 "
            "continuations in one call, n of each.",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
                _IDS,
                {"type": "array", "items": _IDS, "minItems": 1},
            ],
        },
        **_PARAMETERS,
        "max_tokens": {**_PARAMETERS["max_tokens"], "description": "As OpenAI's: by default 16."},
        "temperature": {**_PARAMETERS["temperature"], "description": "As OpenAI's: by default 1."},
        "stream": _STREAM,
        "stream_options": _optional(
            "object",
            "Only with stream: true.",
            properties={
                "include_usage": _optional("boolean", "Tell the usage in one more event."),
                "continuous_usage_stats": _optional(
                    "boolean", "Tell the usage so far in every event."
                ),
            },
        ),
        "best_of": _optional("integer", "Only equal to n.", minimum=1, maximum=128),
        "user": _optional("string", "Has no effect, and is named in x-ignored-parameters."),
    },
    ["prompt"],
    # Unknown fields are served and named in x-ignored-parameters.
    is_open=True,
)
TOKENIZE_BODY = _body(
    {"model": _MODEL, "text": {"type": "string", "description": "May be empty."}}, ["text"]
)
DETOKENIZE_BODY = _body(
    {
        "model": _MODEL,
        "ids": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": _INT64_MAX},
            "description": "Token ids of the model's vocabulary.",
        },
    },
    ["ids"],
)
