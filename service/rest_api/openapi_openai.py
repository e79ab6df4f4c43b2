"""OpenAI's routes on the OpenAPI page."""

from service.rest_api.openapi_answers import TEXT, reference
from service.rest_api.openapi_openai_schemas import CHAT_BODY, COMPLETIONS_BODY, EMBEDDINGS_BODY
from service.rest_api.openapi_operations import (
    OF_GENERATION,
    event_content,
    json_content,
    post_operation,
)
from service.rest_api.openapi_requests import Schema

__all__ = ["OPENAI_PATHS"]

_HEADERS: Schema = {
    "x-ignored-parameters": {
        "description": "Fields of the body that had no effect, if there were any.",
        "schema": TEXT,
    }
}
_USER_SAYS: Schema = {"role": "user", "content": "Tell me about the wolf."}
OPENAI_PATHS: dict[str, dict[str, Schema]] = {
    "/v1/completions": {
        "post": post_operation(
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
            content=event_content("Completion", "CompletionEvent"),
            headers=_HEADERS,
            errors=OF_GENERATION,
        )
    },
    "/v1/chat/completions": {
        "post": post_operation(
            "OpenAI",
            "Go on with a conversation, for models whose folder has a chat template.",
            body=CHAT_BODY,
            examples={
                "an answer": {"messages": [_USER_SAYS], "max_completion_tokens": 12, "seed": 7},
                "with its logprobs": {
                    "messages": [{"role": "system", "content": "Be short."}, _USER_SAYS],
                    "max_completion_tokens": 4,
                    "logprobs": True,
                    "top_logprobs": 2,
                },
                "chunks": {
                    "messages": [_USER_SAYS],
                    "max_tokens": 8,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                },
            },
            content=event_content("Chat", "ChatEvent"),
            headers=_HEADERS,
            errors=OF_GENERATION,
        )
    },
    "/v1/embeddings": {
        "post": post_operation(
            "OpenAI",
            "One vector of length 1 for each text; not with --glass-box off.",
            body=EMBEDDINGS_BODY,
            examples={
                "a vector": {"input": "The wolf"},
                "two, as OpenAI's library asks": {
                    "input": ["The wolf", "The fox"],
                    "encoding_format": "base64",
                },
            },
            content=json_content(reference("Embeddings")),
            headers=_HEADERS,
            errors=OF_GENERATION,
        )
    },
}
