"""OpenAI's /v1/embeddings: vectors of texts, as numbers or as base64."""

import base64
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import ErrorKind, RequestError, invalid_value
from service.glass_box.glass_box_values import TimeLimit
from service.glass_box.packed_floats import unpack_floats
from service.glass_box.text_vectors import (
    MAX_TEXTS,
    EmbeddingsRequest,
    TextVectors,
    embed_texts,
)
from service.large_answers import encode_answer
from service.models.served_models import ServedModels
from service.request_ids import Exchange
from service.request_log import RequestLog, RequestRecord
from service.rest_api.bodies import JsonFields, read_json_object
from service.rest_api.delivery import send_body, until_disconnected
from service.rest_api.errors import error_response
from service.rest_api.openai_fields import header_names, refuse_others
from service.rest_api.text_lists import read_texts
from service.text_generator import TextGenerator

__all__ = ["EMBEDDINGS_PATH", "EmbeddingsResponse", "pack_vector"]

EMBEDDINGS_PATH = "/v1/embeddings"
_Encoding: TypeAlias = Literal["float", "base64"]
# What would change the vectors and is not offered.
_NOT_OFFERED: Mapping[str, tuple[object, ...]] = {
    "add_special_tokens": (True,),
    "input_type": (),
    "messages": (),
    "normalize": (True,),
    "truncate_prompt_tokens": (),
}


class EmbeddingsResponse(Response):
    """Serves one request: its record is open until the answer is read.

    Args:
        generator: Knows whether new requests are taken.
        models: Whose vectors.
        log: Where the request is noted.
        exchange: What the request and its answer are called and measured by.
    """

    def __init__(
        self,
        generator: TextGenerator,
        models: ServedModels,
        log: RequestLog,
        *,
        exchange: Exchange,
    ) -> None:
        super().__init__()
        self._generator = generator
        self._models = models
        self._log = log
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        try:
            with self._log.request(
                protocol="rest", route=EMBEDDINGS_PATH, exchange=self._exchange
            ) as record:
                values = await read_json_object(Request(scope, receive))
                await until_disconnected(receive, self._serve(values, record, scope, send))
        except RequestError as error:
            if error.kind is not ErrorKind.CANCELLED:
                await error_response(error)(scope, receive, send)

    async def _serve(
        self, values: Mapping[str, object], record: RequestRecord, scope: Scope, send: Send
    ) -> None:
        fields = JsonFields(values)
        request = EmbeddingsRequest(
            model=fields.string("model"),
            texts=read_texts("input", fields.take("input"), check_number=_check_number),
            dimensions=fields.integer("dimensions"),
            limit=TimeLimit(timeout_seconds=fields.number("timeout_seconds")),
        )
        encoding = _read_encoding(fields)
        refuse_others(fields, _NOT_OFFERED)
        user = () if fields.string("user") is None else ("user",)
        ignored = ", ".join(header_names((*user, *fields.untaken)))
        vectors = await embed_texts(self._generator, self._models, request, record)
        body = await encode_answer(vectors, lambda: _encode(vectors, encoding))
        headers = {"x-ignored-parameters": ignored} if ignored else None
        await send_body(scope, send, body, headers=headers)


def _check_number(num_texts: int) -> None:
    if num_texts > MAX_TEXTS:
        raise invalid_value("input", f"must be at most {MAX_TEXTS} texts, got {num_texts}")


def _read_encoding(fields: JsonFields) -> _Encoding:
    given = fields.string("encoding_format")
    match given:
        case None | "float":
            return "float"
        case "base64":
            return "base64"
        case _:
            raise invalid_value("encoding_format", "must be float or base64")


def _encode(answer: TextVectors, encoding: _Encoding) -> bytes:
    """The body; no vector is larger than what may be written at a stretch."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(vector, encoding)}
        for index, vector in enumerate(answer.vectors)
    ]
    usage = {"prompt_tokens": answer.num_tokens, "total_tokens": answer.num_tokens}
    whole = {
        "object": "list",
        "data": data,
        "model": f"{answer.model}@{answer.model_version}",
        "usage": usage,
    }
    return msgspec.json.encode(whole)


def _vector(packed: bytes, encoding: _Encoding) -> msgspec.Raw:
    value = pack_vector(packed) if encoding == "base64" else unpack_floats(packed).tolist()
    return msgspec.Raw(msgspec.json.encode(value))


def pack_vector(packed: bytes) -> str:
    """Little-endian f32 as base64, which OpenAI's libraries ask for and unpack."""
    return base64.b64encode(packed).decode("ascii")
