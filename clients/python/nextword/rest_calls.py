"""Calls as REST has them."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from nextword.answers import Generation, Model, TextPiece, Token
from nextword.calls import Call, GlassBoxCall
from nextword.chat import ChatPiece, ChatRequest
from nextword.chat_fields import chat_body, read_chat_piece
from nextword.errors import ErrorFacts, InvalidRequestError
from nextword.json_fields import JsonFields, read_json_object
from nextword.request import GRACE_SECONDS, GenerationRequest
from nextword.rest_messages import (
    read_generation,
    read_model,
    read_piece,
    read_tokens,
    request_body,
)

__all__ = ["RestCalls"]


class RestCalls:
    """Makes calls of REST."""

    def generate(self, request: GenerationRequest) -> Call[Generation]:
        """The whole continuation in one answer."""
        return Call(
            path="/v1/generate",
            body=_encoded(request_body(request, is_streamed=False)),
            read=read_generation,
            seconds=request.timeout_seconds + GRACE_SECONDS,
        )

    def stream(self, request: GenerationRequest) -> Call[TextPiece]:
        """The continuation as it is made."""
        return Call(
            path="/v1/generate",
            body=_encoded(request_body(request, is_streamed=True)),
            read=read_piece,
            seconds=request.timeout_seconds + GRACE_SECONDS,
        )

    def stream_chat(self, request: ChatRequest) -> Call[ChatPiece]:
        """The next message of a conversation as it is made."""
        return Call(
            path="/v1/chat/completions",
            body=_encoded(chat_body(request)),
            read=read_chat_piece,
            seconds=request.timeout_seconds + GRACE_SECONDS,
        )

    def tokenize(self, text: str, *, model: str | None, seconds: float) -> Call[tuple[Token, ...]]:
        """The tokens of a text."""
        body = _encoded(_for(model) | {"text": text})
        return Call(path="/v1/tokenize", body=body, read=read_tokens, seconds=seconds)

    def detokenize(self, ids: Sequence[int], *, model: str | None, seconds: float) -> Call[str]:
        """The text of token ids."""
        body = _encoded(_for(model) | {"ids": list(ids)})
        return Call(path="/v1/detokenize", body=body, read=_read_text, seconds=seconds)

    def list_models(self, *, seconds: float) -> Call[tuple[Model, ...]]:
        """The served models, the default one first."""
        return Call(path="/v1/models", body=None, read=_read_models, seconds=seconds)

    def get_model(self, model: str, *, seconds: float) -> Call[Model]:
        """One model, with its card."""
        path = f"/v1/models/{quote(model, safe='@')}"
        return Call(path=path, body=None, read=_read_model, seconds=seconds)

    def ask(
        self, call: GlassBoxCall, body: dict[str, object], *, seconds: float
    ) -> Call[JsonFields]:
        """The answer to a question of the glass box."""
        return Call(path=call.path, body=_encoded(body), read=read_json_object, seconds=seconds)


def _encoded(body: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(
            f"the request holds what JSON has no word for: {error}",
            facts=ErrorFacts(code="invalid_value", status=400),
        ) from None


def _for(model: str | None) -> dict[str, object]:
    return {} if model is None else {"model": model}


def _read_text(body: bytes) -> str:
    return read_json_object(body).text("text")


def _read_models(body: bytes) -> tuple[Model, ...]:
    return tuple(read_model(model) for model in read_json_object(body).objects("data"))


def _read_model(body: bytes) -> Model:
    return read_model(read_json_object(body))
