"""JSON schemas of answers: closed, so that a field nobody declared fails a test."""

from service.engine.messages import ModelKind
from service.engine_supervisor import EngineState
from service.errors import ErrorKind
from service.generation import FinishReason
from service.parameter_rules import PARAMETER_RULES, Kind
from service.rest_api.openapi_requests import Schema

__all__ = ["ANSWER_SCHEMAS", "reference"]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_IDS: Schema = {"type": "array", "items": _COUNT}
_TYPES: dict[Kind, Schema] = {
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": _FLAG,
    "strings": {"type": "array", "items": _TEXT},
    "integers": _IDS,
    "bias": {"type": "object", "additionalProperties": {"type": "number"}},
}
_NULLABLE_PARAMETERS = ("logprobs",)


def reference(name: str) -> Schema:
    """Where a schema of this table stands on the page."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _parameters(*, with_seed: bool) -> Schema:
    properties = {
        rule.name: (
            _or_null(_TYPES[rule.kind]) if rule.name in _NULLABLE_PARAMETERS else _TYPES[rule.kind]
        )
        for rule in PARAMETER_RULES.values()
        if with_seed or rule.name != "seed"
    }
    return _object(properties)


_TOKEN: dict[str, Schema] = {
    "id": _COUNT,
    "text": {**_TEXT, "description": "U+FFFD where it is a part of a character."},
    "bytes": _array({"type": "integer", "minimum": 0, "maximum": 255}),
}
_SUMMARY: dict[str, Schema] = {
    "id": {**_TEXT, "description": "As in x-request-id."},
    "model": _TEXT,
    "model_version": _TEXT,
    "system_fingerprint": {**_TEXT, "description": "Executor, device and dtype."},
    "usage": reference("Usage"),
    "parameters": reference("Parameters"),
    "timings": reference("Timings"),
}
_FINISH_REASON: Schema = {"type": "string", "enum": [str(reason) for reason in FinishReason]}
_PIECE: dict[str, Schema] = {
    "index": {**_COUNT, "description": "Which continuation, from 0."},
    "text": _TEXT,
    "token_ids": _IDS,
}
_LOGPROBS = _array(reference("TokenLogprob"))
_MODEL: dict[str, Schema] = {
    "id": _TEXT,
    "object": {"const": "model"},
    "created": {**_COUNT, "description": "Seconds since 1970."},
    "owned_by": {"const": "nextword"},
    "version": _TEXT,
    "is_default": _FLAG,
    "is_ready": _FLAG,
    "context_tokens": {**_COUNT, "description": "Longest prompt."},
    "vocabulary_size": _COUNT,
    "num_parameters": _COUNT,
    "default_parameters": _parameters(with_seed=False),
    "status": {"enum": [str(state) for state in EngineState]},
    "versions": {**_array(_TEXT), "description": "What NAME@VERSION can ask for; NAME's first."},
    "refused": {
        **_array(_object({"version": _TEXT, "reason": _TEXT})),
        "description": "Versions that would be served but cannot be.",
    },
    "kv_cache_tokens": {**_COUNT, "description": "For all requests together."},
    "max_running": {**_COUNT, "description": "Texts computed at once."},
    "max_queued": {**_COUNT, "description": "Requests that may wait beside those."},
    "max_request_tokens": {**_COUNT, "description": "Prompt and continuations of one request."},
    "device": _or_null(_TEXT),
    "dtype": _or_null(_TEXT),
    "executor": _or_null(_TEXT),
    "kind": {"enum": [str(kind) for kind in ModelKind]},
}
_COMPLETION_CHOICE = _object(
    {
        "index": {**_COUNT, "description": "Prompt times n plus continuation, both from 0."},
        "text": _TEXT,
        "logprobs": _or_null(reference("CompletionLogprobs")),
        "finish_reason": {"enum": ["stop", "length", None]},
    }
)
_COMPLETION: dict[str, Schema] = {
    "id": {"type": "string", "pattern": "^cmpl-"},
    "object": {"const": "text_completion"},
    "created": _COUNT,
    "model": {**_TEXT, "description": "NAME@VERSION that answered."},
    "system_fingerprint": {**_TEXT, "description": "Executor, device and dtype."},
    "choices": _array(_COMPLETION_CHOICE),
}

_LIMITS = (
    *("max_prompt_tokens", "max_total_tokens", "max_choices", "max_logprobs", "max_stop_strings"),
    *("max_stop_bytes", "max_stop_token_ids", "max_logit_bias_entries", "max_body_bytes"),
    *("max_timeout_seconds", "default_timeout_seconds"),
)

ANSWER_SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        {
            "error": _object(
                {
                    "message": _TEXT,
                    "type": {"enum": sorted({kind.error_type for kind in ErrorKind})},
                    "param": _or_null({**_TEXT, "description": "The field at fault."}),
                    "code": {"enum": sorted(kind.code for kind in ErrorKind)},
                    "n_prompt": {**_COUNT, "description": "Tokens of a prompt that is too long."},
                    "n_ctx": {**_COUNT, "description": "Tokens that the context has."},
                },
                optional=("n_prompt", "n_ctx"),
            )
        }
    ),
    "Usage": _object(
        {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT}
    ),
    "Parameters": _parameters(with_seed=True),
    "Timings": _object(
        {
            "queue_seconds": _SECONDS,
            "first_token_seconds": _or_null(_SECONDS),
            "total_seconds": _SECONDS,
        }
    ),
    "TokenLogprob": _object(
        {
            **_TOKEN,
            "logprob": {
                **_or_null({"type": "number"}),
                "description": "Raw log-softmax; null for the first token of a prompt.",
            },
            "rank": {**_or_null(_COUNT), "description": "1 for the likeliest token."},
            "top": _array(_object({**_TOKEN, "logprob": {"type": "number"}})),
        }
    ),
    "Generation": _object(
        {
            **{name: _SUMMARY[name] for name in ("id", "model", "model_version")},
            "choices": _array(
                _object(
                    {**_PIECE, "finish_reason": _FINISH_REASON, "logprobs": _LOGPROBS},
                    optional=("logprobs",),
                )
            ),
            **_SUMMARY,
        }
    ),
    "GenerationEvent": _object(
        {
            **_PIECE,
            "is_prompt": {"const": True},
            "logprobs": _LOGPROBS,
            "finish_reason": _FINISH_REASON,
            **_SUMMARY,
        },
        optional=("is_prompt", "logprobs", "finish_reason", *_SUMMARY),
    ),
    "Tokens": _object(
        {
            "count": _COUNT,
            "tokens": _array(
                _object({"id": _COUNT, "text": _TEXT, "start": _COUNT, "end": _COUNT})
            ),
        }
    ),
    "Text": _object({"text": _TEXT}),
    "Model": _object({**_MODEL, "card": _TEXT, "limits": reference("Limits")}),
    "Limits": _object({name: {"type": "number"} for name in _LIMITS}),
    "Models": _object({"object": {"const": "list"}, "data": _array(_object(_MODEL))}),
    "CompletionLogprobs": _object(
        {
            "tokens": _array(_TEXT),
            "token_logprobs": _array(_or_null({"type": "number"})),
            "top_logprobs": _array(
                _or_null({"type": "object", "additionalProperties": {"type": "number"}})
            ),
            "text_offset": _IDS,
        }
    ),
    "Completion": _object({**_COMPLETION, "usage": reference("Usage")}),
    "CompletionEvent": _object(
        {**_COMPLETION, "usage": _or_null(reference("Usage"))}, optional=("usage",)
    ),
    "Probe": _object({"status": _TEXT}),
}
