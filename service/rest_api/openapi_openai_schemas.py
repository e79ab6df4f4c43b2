"""JSON schemas of OpenAI's routes: bodies, open for what others invent, and closed answers."""

from service.glass_box.text_vectors import MAX_TEXTS
from service.rest_api.openai_chat import MAX_MESSAGES
from service.rest_api.openapi_answers import (
    COUNT,
    IDS,
    TEXT,
    array_of,
    object_schema,
    or_null,
    reference,
)
from service.rest_api.openapi_requests import (
    MODEL_FIELD,
    PARAMETER_SCHEMAS,
    STREAM_FIELD,
    TIMEOUT_FIELD,
    Schema,
    body_schema,
    optional_field,
)

__all__ = ["CHAT_BODY", "COMPLETIONS_BODY", "EMBEDDINGS_BODY", "OPENAI_SCHEMAS"]

_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_TEXT_OR_IDS: list[Schema] = [
    {"type": "string", "minLength": 1},
    {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    _IDS,
    {"type": "array", "items": _IDS, "minItems": 1},
]
_USER = optional_field("string", "Has no effect, and is named in x-ignored-parameters.")
_TEMPERATURE: Schema = {
    **PARAMETER_SCHEMAS["temperature"],
    "description": "As OpenAI's: by default 1.",
}
_STREAM_OPTIONS = optional_field(
    "object",
    "Only with stream: true.",
    properties={
        "include_usage": optional_field("boolean", "Tell the usage in one more event."),
        "continuous_usage_stats": optional_field(
            "boolean", "Tell the usage so far in every event."
        ),
    },
)
# Unknown fields are served and named in x-ignored-parameters.
COMPLETIONS_BODY = body_schema(
    {
        "model": MODEL_FIELD,
        "prompt": {
            "description": "A text, texts, token ids or lists of token ids; at most 128 "
            "continuations in one call, n of each.",
            "anyOf": _TEXT_OR_IDS,
        },
        **PARAMETER_SCHEMAS,
        "max_tokens": {
            **PARAMETER_SCHEMAS["max_tokens"],
            "description": "As OpenAI's: by default 16.",
        },
        "temperature": _TEMPERATURE,
        "stream": STREAM_FIELD,
        "stream_options": _STREAM_OPTIONS,
        "best_of": optional_field("integer", "Only equal to n.", minimum=1, maximum=128),
        "timeout_seconds": TIMEOUT_FIELD,
        "user": _USER,
    },
    ["prompt"],
    is_open=True,
)
_MOST: Schema = {**PARAMETER_SCHEMAS["max_tokens"], "minimum": 1}
_MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {
            "enum": ["system", "developer", "user", "assistant"],
            "description": "developer is another word for system.",
        },
        "content": {
            "description": "A text, or its parts; control tokens' strings in it are plain text.",
            "anyOf": [
                TEXT,
                array_of(
                    {
                        "type": "object",
                        "properties": {"type": {"const": "text"}, "text": TEXT},
                        "required": ["type", "text"],
                    }
                ),
            ],
        },
        "name": optional_field("string", "For templates that tell speakers apart."),
    },
    "required": ["role", "content"],
}
CHAT_BODY = body_schema(
    {
        "model": MODEL_FIELD,
        "messages": {
            **array_of(_MESSAGE),
            "minItems": 1,
            "maxItems": MAX_MESSAGES,
            "description": "The conversation so far; the model's chat template must fit it.",
        },
        **{name: schema for name, schema in PARAMETER_SCHEMAS.items() if name != "echo"},
        "max_tokens": {
            **_MOST,
            "description": "As OpenAI's: by default what the context leaves.",
        },
        "max_completion_tokens": {**_MOST, "description": "The newer name of max_tokens."},
        "temperature": _TEMPERATURE,
        "logprobs": optional_field("boolean", "Report each token's logprob; by default false."),
        "top_logprobs": optional_field(
            "integer",
            "How many likeliest tokens to report beside it; only with logprobs: true.",
            minimum=0,
            maximum=20,
        ),
        "stream": STREAM_FIELD,
        "stream_options": _STREAM_OPTIONS,
        "timeout_seconds": TIMEOUT_FIELD,
        "user": _USER,
    },
    ["messages"],
    is_open=True,
)
EMBEDDINGS_BODY = body_schema(
    {
        "model": MODEL_FIELD,
        "input": {
            "description": f"A text, texts, token ids or lists of token ids; at most {MAX_TEXTS}.",
            "anyOf": _TEXT_OR_IDS,
        },
        "encoding_format": {
            "enum": ["float", "base64", None],
            "description": "Numbers, or base64 of little-endian f32; by default numbers.",
        },
        "dimensions": optional_field("integer", "Only the width that the model has."),
        "timeout_seconds": TIMEOUT_FIELD,
        "user": _USER,
    },
    ["input"],
    is_open=True,
)

_FINISH_REASON: Schema = {"enum": ["stop", "length", None]}
_INDEX: Schema = {**COUNT, "description": "Prompt times n plus continuation, both from 0."}


def _answer(prefix: str, kind: str, choice: Schema) -> dict[str, Schema]:
    return {
        "id": {"type": "string", "pattern": f"^{prefix}-"},
        "object": {"const": kind},
        "created": COUNT,
        "model": {**TEXT, "description": "NAME@VERSION that answered."},
        "system_fingerprint": {**TEXT, "description": "Executor, device and dtype."},
        "choices": array_of(choice),
    }


def _with_usage(answer: dict[str, Schema]) -> Schema:
    return object_schema({**answer, "usage": reference("Usage")})


def _chunk(answer: dict[str, Schema]) -> Schema:
    usage = or_null(reference("Usage"))
    return object_schema({**answer, "usage": usage}, optional=("usage",))


_COMPLETION = _answer(
    "cmpl",
    "text_completion",
    object_schema(
        {
            "index": _INDEX,
            "text": TEXT,
            "logprobs": or_null(reference("CompletionLogprobs")),
            "finish_reason": _FINISH_REASON,
        }
    ),
)
_CHAT_LOGPROBS = or_null(reference("ChatLogprobs"))
_CHAT = _answer(
    "chatcmpl",
    "chat.completion",
    object_schema(
        {
            "index": COUNT,
            "message": object_schema(
                {"role": {"const": "assistant"}, "content": TEXT, "refusal": {"const": None}}
            ),
            "logprobs": _CHAT_LOGPROBS,
            "finish_reason": _FINISH_REASON,
        }
    ),
)
_CHAT_CHUNK = _answer(
    "chatcmpl",
    "chat.completion.chunk",
    object_schema(
        {
            "index": COUNT,
            "delta": {
                **object_schema(
                    {"role": {"const": "assistant"}, "content": TEXT},
                    optional=("role", "content"),
                ),
                "description": "The role is told once, in the first chunk of a choice.",
            },
            "logprobs": _CHAT_LOGPROBS,
            "finish_reason": _FINISH_REASON,
        }
    ),
)
_TOKEN: dict[str, Schema] = {
    "token": {**TEXT, "description": "As in CompletionLogprobs."},
    "bytes": array_of({"type": "integer", "minimum": 0, "maximum": 255}),
    "logprob": {"type": "number"},
}
OPENAI_SCHEMAS: dict[str, Schema] = {
    "CompletionLogprobs": object_schema(
        {
            "tokens": array_of(TEXT),
            "token_logprobs": array_of(or_null({"type": "number"})),
            "top_logprobs": array_of(
                or_null({"type": "object", "additionalProperties": {"type": "number"}})
            ),
            "text_offset": IDS,
        }
    ),
    "Completion": _with_usage(_COMPLETION),
    "CompletionEvent": _chunk(_COMPLETION),
    "ChatLogprobs": object_schema(
        {
            "content": array_of(
                object_schema({**_TOKEN, "top_logprobs": array_of(object_schema(_TOKEN))})
            ),
            "refusal": {"const": None},
        }
    ),
    "Chat": _with_usage(_CHAT),
    "ChatEvent": _chunk(_CHAT_CHUNK),
    "Embeddings": object_schema(
        {
            "object": {"const": "list"},
            "data": array_of(
                object_schema(
                    {
                        "object": {"const": "embedding"},
                        "index": COUNT,
                        "embedding": {"anyOf": [array_of({"type": "number"}), TEXT]},
                    }
                )
            ),
            "model": {**TEXT, "description": "NAME@VERSION that answered."},
            "usage": object_schema({"prompt_tokens": COUNT, "total_tokens": COUNT}),
        }
    ),
}
