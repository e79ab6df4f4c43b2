"""What the OpenAPI page says of bodies and answers; the parameters come from their one table."""

from service.parameter_rules import PARAMETER_RULES, Kind, ParameterRule

__all__ = ["DETOKENIZE", "GENERATE", "GET_MODEL", "LIST_MODELS", "TOKENIZE"]

Schema = dict[str, object]

_TYPES: dict[Kind, Schema] = {
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "integers": {"type": "array", "items": {"type": "integer"}},
    "bias": {"type": "object", "additionalProperties": {"type": "number"}},
}


def _parameter(rule: ParameterRule) -> Schema:
    schema: Schema = {**_TYPES[rule.kind], "description": rule.description}
    if rule.kind in ("integer", "number") and rule.minimum is not None:
        schema["exclusiveMinimum" if rule.above_minimum else "minimum"] = rule.minimum
        schema["maximum"] = rule.maximum
    return schema


def _body(properties: dict[str, Schema], required: list[str], example: Schema) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": True, "content": content}


def _operation(description: str, *, body: Schema | None = None) -> Schema:
    operation: Schema = {"responses": {"200": {"description": description}}}
    if body is not None:
        operation["requestBody"] = body
    return operation


_MODEL: Schema = {
    "type": "string",
    "description": "NAME or NAME@VERSION; by default the server's default model.",
}

GENERATE = _operation(
    "The continuation; with stream true as server-sent events.",
    body=_body(
        {
            "model": _MODEL,
            "prompt": {"type": "string", "description": "The text to continue."},
            "prompt_ids": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "Token ids to continue, instead of a text.",
            },
            **{rule.name: _parameter(rule) for rule in PARAMETER_RULES.values()},
            "stream": {"type": "boolean", "description": "Send text as it is made."},
            "timeout_seconds": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 86400,
                "description": "When to give up; by default 600.",
            },
            "parse_special_tokens": {
                "type": "boolean",
                "description": "Read control tokens' strings in the prompt as those tokens.",
            },
        },
        [],
        {"prompt": "Once upon a time", "max_tokens": 20, "temperature": 0.8, "top_k": 50},
    ),
)
TOKENIZE = _operation(
    "The tokens, with the bytes of the text that each stands for.",
    body=_body({"model": _MODEL, "text": {"type": "string"}}, ["text"], {"text": "Once upon"}),
)
DETOKENIZE = _operation(
    "The text.",
    body=_body(
        {"model": _MODEL, "ids": {"type": "array", "items": {"type": "integer"}}},
        ["ids"],
        {"ids": [1, 2, 3]},
    ),
)
LIST_MODELS = _operation("The models.")
GET_MODEL = _operation("The model.")
