"""The OpenAPI page: every route, its bodies, its answers and its errors."""

from service.errors import ErrorKind
from service.rest_api.openapi_answers import ANSWER_SCHEMAS, reference
from service.rest_api.openapi_glass_box import GLASS_BOX_PATHS
from service.rest_api.openapi_inspections import GLASS_BOX_SCHEMAS
from service.rest_api.openapi_openai import OPENAI_PATHS
from service.rest_api.openapi_openai_schemas import OPENAI_SCHEMAS
from service.rest_api.openapi_operations import (
    ANYWHERE,
    OF_GENERATION,
    event_content,
    get_operation,
    json_content,
    post_operation,
    probe_operation,
)
from service.rest_api.openapi_requests import (
    DETOKENIZE_BODY,
    GENERATE_BODY,
    TOKENIZE_BODY,
    Schema,
)

__all__ = ["openapi_page"]

_MODEL_ID: Schema = {
    "name": "model_id",
    "in": "path",
    "required": True,
    "description": "NAME or NAME@VERSION.",
    "schema": {"type": "string"},
}
_PATHS: dict[str, dict[str, Schema]] = {
    "/v1/generate": {
        "post": post_operation(
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
            content=event_content("Generation", "GenerationEvent"),
            errors=OF_GENERATION,
        )
    },
    **OPENAI_PATHS,
    "/v1/tokenize": {
        "post": post_operation(
            "tokens",
            "The tokens of a text, with the bytes that each stands for.",
            body=TOKENIZE_BODY,
            examples={"a text": {"text": "Once upon"}},
            content=json_content(reference("Tokens")),
        )
    },
    "/v1/detokenize": {
        "post": post_operation(
            "tokens",
            "The text of token ids.",
            body=DETOKENIZE_BODY,
            examples={"three tokens": {"ids": [1, 2, 3]}},
            content=json_content(reference("Text")),
        )
    },
    **GLASS_BOX_PATHS,
    "/v1/models": {
        "get": get_operation(
            "models",
            "The served models, the default one first; OpenAI's clients read it too.",
            content=json_content(reference("Models")),
        )
    },
    "/v1/models/{model_id}": {
        "get": get_operation(
            "models",
            "One model, with its card and limits.",
            content=json_content(reference("Model")),
            parameters=[_MODEL_ID],
            errors=(*ANYWHERE, ErrorKind.MODEL_NOT_FOUND),
        )
    },
    "/livez": {
        "get": probe_operation("Whether waiting makes sense; restart the server when it is not.")
    },
    "/readyz": {"get": probe_operation("Whether new requests are taken.")},
    "/startupz": {"get": probe_operation("Whether loading has ended once.")},
    "/health": {"get": probe_operation("The same as /readyz.")},
    "/metrics": {
        "get": get_operation(
            "operation",
            "Figures for Prometheus.",
            content={
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        )
    },
    "/openapi.json": {
        "get": get_operation("operation", "This page.", content=json_content({"type": "object"}))
    },
}


def openapi_page(*, needs_key: bool = False) -> Schema:
    """The whole page, of a server that asks for keys or of one that does not."""
    components: Schema = {"schemas": ANSWER_SCHEMAS | OPENAI_SCHEMAS | GLASS_BOX_SCHEMAS}
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
