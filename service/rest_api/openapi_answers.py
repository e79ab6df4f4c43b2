"""JSON schemas of answers: closed, so that a field nobody declared fails a test."""

from collections.abc import Collection

from service.engine.messages import ModelKind
from service.engine_link.engine_supervisor import EngineState
from service.errors import ErrorKind
from service.generation import FinishReason
from service.parameter_rules import PARAMETER_RULES, Kind
from service.rest_api.openapi_requests import Schema

__all__ = [
    "ANSWER_SCHEMAS",
    "COUNT",
    "FLAG",
    "IDS",
    "TEXT",
    "array_of",
    "object_schema",
    "or_null",
    "parameters_schema",
    "reference",
]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
IDS: Schema = {"type": "array", "items": COUNT}
_TYPES: dict[Kind, Schema] = {
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": FLAG,
    "strings": {"type": "array", "items": TEXT},
    "integers": IDS,
    "bias": {"type": "object", "additionalProperties": {"type": "number"}},
}
_NULLABLE_PARAMETERS = ("logprobs",)


def reference(name: str) -> Schema:
    """Where a schema of this table stands on the page."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_schema(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """A closed object."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def array_of(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def or_null(schema: Schema) -> Schema:
    """What a schema says, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def parameters_schema(*, without: Collection[str] = ()) -> Schema:
    """Parameters in force."""
    properties = {
        rule.name: (
            or_null(_TYPES[rule.kind]) if rule.name in _NULLABLE_PARAMETERS else _TYPES[rule.kind]
        )
        for rule in PARAMETER_RULES.values()
        if rule.name not in without
    }
    return object_schema(properties)


_TOKEN: dict[str, Schema] = {
    "id": COUNT,
    "text": {**TEXT, "description": "U+FFFD where it is a part of a character."},
    "bytes": array_of({"type": "integer", "minimum": 0, "maximum": 255}),
}
_SUMMARY: dict[str, Schema] = {
    "id": {**TEXT, "description": "As in x-request-id."},
    "model": TEXT,
    "model_version": TEXT,
    "system_fingerprint": {**TEXT, "description": "Executor, device and dtype."},
    "usage": reference("Usage"),
    "parameters": reference("Parameters"),
    "timings": reference("Timings"),
}
_FINISH_REASON: Schema = {"type": "string", "enum": [str(reason) for reason in FinishReason]}
_PIECE: dict[str, Schema] = {
    "index": {**COUNT, "description": "Which continuation, from 0."},
    "text": TEXT,
    "token_ids": IDS,
}
_LOGPROBS = array_of(reference("TokenLogprob"))
_INSPECTIONS: Schema = {
    **array_of(reference("TokenInspection")),
    "description": "One for each token that was made, and for the one that ended the text.",
}
_MODEL: dict[str, Schema] = {
    "id": TEXT,
    "object": {"const": "model"},
    "created": {**COUNT, "description": "Seconds since 1970."},
    "owned_by": {"const": "nextword"},
    "version": TEXT,
    "is_default": FLAG,
    "is_ready": FLAG,
    "context_tokens": {**COUNT, "description": "Longest prompt."},
    "vocabulary_size": COUNT,
    "num_parameters": COUNT,
    "default_parameters": parameters_schema(without=("seed",)),
    "status": {"enum": [str(state) for state in EngineState]},
    "versions": {**array_of(TEXT), "description": "What NAME@VERSION can ask for; NAME's first."},
    "refused": {
        **array_of(object_schema({"version": TEXT, "reason": TEXT})),
        "description": "Versions that would be served but cannot be.",
    },
    "kv_cache_tokens": {**COUNT, "description": "For all requests together."},
    "max_running": {**COUNT, "description": "Texts computed at once."},
    "max_queued": {**COUNT, "description": "Requests that may wait beside those."},
    "max_request_tokens": {**COUNT, "description": "Prompt and continuations of one request."},
    "device": or_null(TEXT),
    "dtype": or_null(TEXT),
    "executor": or_null(TEXT),
    "kind": {"enum": [str(kind) for kind in ModelKind]},
}
_LIMITS = (
    *("max_prompt_tokens", "max_total_tokens", "max_choices", "max_logprobs", "max_stop_strings"),
    *("max_stop_bytes", "max_stop_token_ids", "max_logit_bias_entries", "max_body_bytes"),
    *("max_timeout_seconds", "default_timeout_seconds"),
)

ANSWER_SCHEMAS: dict[str, Schema] = {
    "Error": object_schema(
        {
            "error": object_schema(
                {
                    "message": TEXT,
                    "type": {"enum": sorted({kind.error_type for kind in ErrorKind})},
                    "param": or_null({**TEXT, "description": "The field at fault."}),
                    "code": {"enum": sorted(kind.code for kind in ErrorKind)},
                    "n_prompt": {**COUNT, "description": "Tokens of a prompt that is too long."},
                    "n_ctx": {**COUNT, "description": "Tokens that the context has."},
                },
                optional=("n_prompt", "n_ctx"),
            )
        }
    ),
    "Usage": object_schema(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}
    ),
    "Parameters": parameters_schema(),
    "Timings": object_schema(
        {
            "queue_seconds": _SECONDS,
            "first_token_seconds": or_null(_SECONDS),
            "total_seconds": _SECONDS,
        }
    ),
    "TokenLogprob": object_schema(
        {
            **_TOKEN,
            "logprob": {
                **or_null({"type": "number"}),
                "description": "Raw log-softmax; null for the first token of a prompt.",
            },
            "rank": {**or_null(COUNT), "description": "1 for the likeliest token."},
            "top": array_of(object_schema({**_TOKEN, "logprob": {"type": "number"}})),
        }
    ),
    "Generation": object_schema(
        {
            **{name: _SUMMARY[name] for name in ("id", "model", "model_version")},
            "choices": array_of(
                object_schema(
                    {
                        **_PIECE,
                        "finish_reason": _FINISH_REASON,
                        "logprobs": _LOGPROBS,
                        "inspections": _INSPECTIONS,
                    },
                    optional=("logprobs", "inspections"),
                )
            ),
            **_SUMMARY,
        }
    ),
    "GenerationEvent": object_schema(
        {
            **_PIECE,
            "is_prompt": {"const": True},
            "logprobs": _LOGPROBS,
            "inspections": _INSPECTIONS,
            "finish_reason": _FINISH_REASON,
            **_SUMMARY,
        },
        optional=("is_prompt", "logprobs", "inspections", "finish_reason", *_SUMMARY),
    ),
    "Tokens": object_schema(
        {
            "count": COUNT,
            "tokens": array_of(
                object_schema({"id": COUNT, "text": TEXT, "start": COUNT, "end": COUNT})
            ),
        }
    ),
    "Text": object_schema({"text": TEXT}),
    "Model": object_schema({**_MODEL, "card": TEXT, "limits": reference("Limits")}),
    "Limits": object_schema({name: {"type": "number"} for name in _LIMITS}),
    "Models": object_schema({"object": {"const": "list"}, "data": array_of(object_schema(_MODEL))}),
    "Probe": object_schema({"status": TEXT}),
}
