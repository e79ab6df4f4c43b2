"""The OpenAPI page: every route, its bodies, its answers and its errors."""

from service.errors import ErrorKind
from service.rest_api.openapi_answers import ANSWER_SCHEMAS, reference
from service.rest_api.openapi_requests import (
    COMPLETIONS_BODY,
    DETOKENIZE_BODY,
    GENERATE_BODY,
    TOKENIZE_BODY,
    Schema,
)

__all__ = ["openapi_page"]

_PROBE_CODES = {"200": "It is.", "503": "It is not; the status says why."}
# What the server may answer to whatever is asked of it.
_ANYWHERE = (
    ErrorKind.INVALID_HTTP,
    ErrorKind.INVALID_VALUE,
    ErrorKind.INVALID_API_KEY,
    ErrorKind.UNKNOWN_URL,
    ErrorKind.METHOD_NOT_ALLOWED,
    ErrorKind.REQUEST_TIMEOUT,
    ErrorKind.URL_TOO_LONG,
    ErrorKind.HEADERS_TOO_LARGE,
    ErrorKind.INTERNAL_ERROR,
    ErrorKind.TOO_MANY_CONNECTIONS,
)
_OF_BODIES = (
    *_ANYWHERE,
    ErrorKind.INVALID_JSON,
    ErrorKind.UNSUPPORTED_PARAMETER,
    ErrorKind.REQUEST_TOO_LARGE,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    ErrorKind.MODEL_NOT_FOUND,
)
_OF_GENERATION = (
    *_OF_BODIES,
    ErrorKind.CONTEXT_LENGTH_EXCEEDED,
    ErrorKind.SERVER_OVERLOADED,
    ErrorKind.DEADLINE_EXCEEDED,
    ErrorKind.READER_TOO_SLOW,
    ErrorKind.MODEL_LOADING,
    ErrorKind.DRAINING,
    ErrorKind.ENGINE_UNAVAILABLE,
    ErrorKind.NUMERICAL_ERROR,
)


def _json(schema: Schema, **more: object) -> Schema:
    return {"application/json": {"schema": schema, **more}}


def _errors(kinds: tuple[ErrorKind, ...]) -> Schema:
    responses: Schema = {}
    for status in sorted({kind.http_status for kind in kinds}):
        codes = [kind.code for kind in kinds if kind.http_status == status]
        responses[str(status)] = {
            "description": "Codes: " + ", ".join(codes) + ".",
            "content": _json(reference("Error")),
        }
    return responses


def _post(
    tag: str,
    summary: str,
    *,
    body: Schema,
    examples: dict[str, Schema],
    content: Schema,
    headers: Schema | None = None,
    errors: tuple[ErrorKind, ...] = _OF_BODIES,
) -> Schema:
    named = {name: {"value": example} for name, example in examples.items()}
    answer: Schema = {"description": "It is done.", "content": content}
    if headers is not None:
        answer["headers"] = headers
    return {
        "tags": [tag],
        "summary": summary,
        "requestBody": {"required": True, "content": _json(body, examples=named)},
        "responses": {"200": answer, **_errors(errors)},
    }


def _get(
    tag: str,
    summary: str,
    *,
    content: Schema,
    parameters: list[Schema] | None = None,
    errors: tuple[ErrorKind, ...] = _ANYWHERE,
) -> Schema:
    operation: Schema = {
        "tags": [tag],
        "summary": summary,
        "responses": {"200": {"description": "It is here.", "content": content}, **_errors(errors)},
    }
    if parameters is not None:
        operation["parameters"] = parameters
    return operation


def _probe(summary: str) -> Schema:
    answers: Schema = {
        code: {"description": description, "content": _json(reference("Probe"))}
        for code, description in _PROBE_CODES.items()
    }
    return {"tags": ["operation"], "summary": summary, "security": [], "responses": answers}


def _events(whole: str, event: str) -> Schema:
    """A body in one, or events whose data are objects of a schema of their own."""
    told: Schema = {"anyOf": [reference(event), reference("Error")]}
    return {
        **_json(reference(whole)),
        # Before OpenAPI 3.2 the schema of this media type is that of one event.
        "text/event-stream": {
            "schema": {
                "type": "object",
                "properties": {
                    "data": {
                        "type": "string",
                        "description": f"{event}s, then [DONE]; or an Error and nothing more.",
                        "anyOf": [
                            {"contentMediaType": "application/json", "contentSchema": told},
                            {"const": "[DONE]"},
                        ],
                    },
                },
                "required": ["data"],
            },
        },
    }


_MODEL_ID: Schema = {
    "name": "model_id",
    "in": "path",
    "required": True,
    "description": "NAME or NAME@VERSION.",
    "schema": {"type": "string"},
}
_PATHS: dict[str, dict[str, Schema]] = {
    "/v1/generate": {
        "post": _post(
            "text",
            "Continue a text, whole or as server-sent events.",
            body=GENERATE_BODY,
            examples={
                "a continuation": {
                    "prompt": "Once upon a time",
                    "max_tokens": 20,
                    "temperature": 0.8,
                    "top_k": 50,
                },
                "words as they are made": {"prompt": "The wolf said", "stream": True, "seed": 7},
                "token ids": {"prompt_ids": [1, 2, 3], "max_tokens": 4, "ignore_eos": True},
            },
            content=_events("Generation", "GenerationEvent"),
            errors=_OF_GENERATION,
        )
    },
    "/v1/completions": {
        "post": _post(
            "OpenAI",
            "Continue texts as OpenAI's completions do.",
            body=COMPLETIONS_BODY,
            examples={
                "a completion": {"prompt": "Once upon a time", "max_tokens": 12, "seed": 7},
                "two texts": {"prompt": ["The wolf", "The fox"], "max_tokens": 4, "stop": "\n"},
                "chunks": {
                    "prompt": "Once",
                    "stream": True,
                    "stream_options": {"include_usage": True},
                },
            },
            content=_events("Completion", "CompletionEvent"),
            headers={
                "x-ignored-parameters": {
                    "description": "Fields of the body that had no effect, if there were any.",
                    "schema": {"type": "string"},
                }
            },
            errors=_OF_GENERATION,
        )
    },
    "/v1/tokenize": {
        "post": _post(
            "tokens",
            "The tokens of a text, with the bytes that each stands for.",
            body=TOKENIZE_BODY,
            examples={"a text": {"text": "Once upon"}},
            content=_json(reference("Tokens")),
        )
    },
    "/v1/detokenize": {
        "post": _post(
            "tokens",
            "The text of token ids.",
            body=DETOKENIZE_BODY,
            examples={"three tokens": {"ids": [1, 2, 3]}},
            content=_json(reference("Text")),
        )
    },
    "/v1/models": {
        "get": _get(
            "models",
            "The served models, the default one first; OpenAI's clients read it too.",
            content=_json(reference("Models")),
        )
    },
    "/v1/models/{model_id}": {
        "get": _get(
            "models",
            "One model, with its card and limits.",
            content=_json(reference("Model")),
            parameters=[_MODEL_ID],
            errors=(*_ANYWHERE, ErrorKind.MODEL_NOT_FOUND),
        )
    },
    "/livez": {"get": _probe("Whether waiting makes sense; restart the server when it is not.")},
    "/readyz": {"get": _probe("Whether new requests are taken.")},
    "/startupz": {"get": _probe("Whether loading has ended once.")},
    "/health": {"get": _probe("The same as /readyz.")},
    "/metrics": {
        "get": _get(
            "operation",
            "Figures for Prometheus.",
            content={
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        )
    },
    "/openapi.json": {"get": _get("operation", "This page.", content=_json({"type": "object"}))},
}


def openapi_page(*, needs_key: bool = False) -> Schema:
    """The whole page, of a server that asks for keys or of one that does not."""
    components: Schema = {"schemas": ANSWER_SCHEMAS}
    page: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Nextword",
            "version": "1",
            "description": "Next words of small language models. gRPC offers the same: see proto/.",
        },
        "paths": _PATHS,
        "components": components,
    }
    if needs_key:
        components["securitySchemes"] = {"api_key": {"type": "http", "scheme": "bearer"}}
        page["security"] = [{"api_key": []}]
    return page
