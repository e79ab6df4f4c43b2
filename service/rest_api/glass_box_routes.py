"""The routes of the glass box: one answer each, which its client's leaving stops."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import ErrorKind, RequestError
from service.glass_box.glass_box import GlassBox
from service.large_answers import encode_answer
from service.request_ids import Exchange
from service.request_log import RequestLog, RequestRecord
from service.rest_api import glass_box_answers as answers
from service.rest_api import glass_box_requests as requests
from service.rest_api.bodies import JsonFields, read_json_object
from service.rest_api.delivery import send_body, until_disconnected
from service.rest_api.errors import error_response

__all__ = ["GLASS_BOX_PATHS", "glass_box_router"]

GLASS_BOX_PATHS = (
    *("/v1/inspect", "/v1/resample", "/v1/attention"),
    *("/v1/embedding", "/v1/embed-text", "/v1/score"),
)

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


def glass_box_router(box: GlassBox, log: RequestLog) -> APIRouter:
    """The twins of GlassBoxService's calls."""
    router = APIRouter()

    def add(path: str, call: "_Call[RequestT, AnswerT]") -> None:
        async def endpoint(request: Request) -> Response:
            return _CallResponse(call, log, route=path, exchange=request.state.exchange)

        router.add_api_route(path, endpoint, methods=["POST"], response_model=None)

    add(
        "/v1/inspect",
        _Call(requests.read_inspect_body, box.inspect_text, answers.inspected_object),
    )
    add(
        "/v1/resample",
        _Call(requests.read_resample_body, box.resample, answers.resampled_object),
    )
    add(
        "/v1/attention",
        _Call(requests.read_attention_body, box.attention, answers.attention_object),
    )
    add(
        "/v1/embedding",
        _Call(requests.read_embedding_body, box.token_embedding, answers.embedding_object),
    )
    add(
        "/v1/embed-text",
        _Call(requests.read_embed_body, box.embed_text, answers.text_embedding_object),
    )
    add(
        "/v1/score",
        _Call(requests.read_score_body, box.score_text, answers.scores_object),
    )
    return router


@dataclass(frozen=True, slots=True)
class _Call(Generic[RequestT, AnswerT]):
    """From a body to the object that answers it."""

    read: Callable[[JsonFields], RequestT]
    ask: Callable[[RequestT, RequestRecord], Awaitable[AnswerT]]
    write: Callable[[AnswerT], dict[str, object]]

    async def answer(self, fields: JsonFields, record: RequestRecord) -> bytes:
        request = self.read(fields)
        fields.finish()
        answer = await self.ask(request, record)
        # Some are megabytes.
        return await encode_answer(answer, lambda: msgspec.json.encode(self.write(answer)))


class _CallResponse(Response, Generic[RequestT, AnswerT]):
    """Serves one request: its record is open until the answer is read."""

    def __init__(
        self,
        call: _Call[RequestT, AnswerT],
        log: RequestLog,
        *,
        route: str,
        exchange: Exchange,
    ) -> None:
        super().__init__()
        self._call = call
        self._log = log
        self._route = route
        self._exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        try:
            with self._log.request(
                protocol="rest", route=self._route, exchange=self._exchange
            ) as record:
                fields = JsonFields(await read_json_object(Request(scope, receive)))
                await until_disconnected(receive, self._send(fields, record, scope, send))
        except RequestError as error:
            if error.kind is not ErrorKind.CANCELLED:
                await error_response(error)(scope, receive, send)

    async def _send(
        self, fields: JsonFields, record: RequestRecord, scope: Scope, send: Send
    ) -> None:
        await send_body(scope, send, await self._call.answer(fields, record))
