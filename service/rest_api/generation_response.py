"""The answer of a generating route: read, generate and send under one span that a disconnect ends.

How bodies and answers look is the route's own business (`Answer`); that closing the stream is the
cancel, and that an early failure has a real status, is the same for all of them.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import ErrorKind, RequestError
from service.generation import GenerationRequest
from service.large_answers import build_answer
from service.request_ids import Exchange
from service.request_log import RequestLog
from service.rest_api.bodies import read_json_object
from service.rest_api.delivery import send_body, until_disconnected
from service.rest_api.errors import error_response
from service.rest_api.event_stream import EventStream
from service.rest_api.prompt_batch import BatchPiece, continue_prompts
from service.text_generator import TextGenerator
from service.transport_limits import TransportLimits

__all__ = ["Answer", "GenerationResponse"]

_logger = logging.getLogger(__name__)


class Answer(Protocol):
    """How one request of a route is answered; it may remember what it has said."""

    @property
    def requests(self) -> tuple[GenerationRequest, ...]:
        """What to continue: one for each prompt."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of an answer that succeeds, beside the usual."""
        ...

    def restate(self, error: RequestError) -> RequestError:
        """An error of the core in the words of this route."""
        ...

    def event(self, piece: BatchPiece) -> object:
        """The event that tells of a piece."""
        ...

    def last_events(self) -> Iterable[object]:
        """What comes between the last piece and the end of the stream."""
        ...

    def whole(self, pieces: list[BatchPiece]) -> object:
        """The body of an answer in one; runs beside the event loop when it is large.

        What is large in it is JSON already (`msgspec.Raw`): encoding all in one go would hold the
        interpreter, and with it every stream, for as long as that takes.
        """
        ...


class GenerationResponse(Response):
    """Serves one request of a generating route, whole or as server-sent events.

    Args:
        generator: The core.
        log: Where the request is noted.
        route: What log and metrics call it.
        exchange: What the request and its answer are called and measured by.
        read: Makes an answer from the fields of a body, or raises RequestError.
    """

    def __init__(
        self,
        generator: TextGenerator,
        log: RequestLog,
        *,
        route: str,
        exchange: Exchange,
        read: Callable[[Mapping[str, object]], Answer],
    ) -> None:
        super().__init__()
        self._generator = generator
        self._log = log
        self._route = route
        self._exchange = exchange
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        limits: TransportLimits = scope["state"]["limits"]
        answer: Answer | None = None
        stream: EventStream[BatchPiece] | None = None
        try:
            with self._log.request(
                protocol="rest", route=self._route, exchange=self._exchange
            ) as record:
                answer = self._read(await read_json_object(Request(scope, receive)))
                if answer.is_streamed:
                    stream = EventStream(
                        send,
                        answer.event,
                        headers=answer.headers,
                        ping_seconds=limits.ping_seconds,
                        direct=scope["state"].get("direct_writer"),
                    )
                outlet = None if stream is None else stream.outlet
                async with aclosing(
                    continue_prompts(self._generator, answer.requests, record, outlet)
                ) as pieces:
                    if stream is None:
                        work = _send_whole(answer, pieces, scope, send)
                    else:
                        work = stream.send_all(pieces, answer.last_events)
                    await until_disconnected(receive, work)
        except RequestError as error:
            if error.kind is ErrorKind.CANCELLED:
                return
            told = error if answer is None else answer.restate(error)
            if stream is not None and stream.has_started:
                await stream.send_error(told)
            else:
                await error_response(told)(scope, receive, send)
        except Exception:
            if stream is None or not stream.has_started:
                raise
            _logger.exception("request %s failed in its stream", self._exchange.request_id)
            await stream.send_error(RequestError(ErrorKind.INTERNAL_ERROR, "internal error"))


async def _send_whole(
    answer: Answer, pieces: AsyncGenerator[BatchPiece], scope: Scope, send: Send
) -> None:
    await send_body(scope, send, await _whole_body(answer, pieces), headers=answer.headers)


async def _whole_body(answer: Answer, pieces: AsyncGenerator[BatchPiece]) -> bytes:
    # A call of its own: what it was made of is larger, and goes before a slow client reads.
    whole = [piece async for piece in pieces]
    return await build_answer(
        (each.piece for each in whole), lambda: msgspec.json.encode(answer.whole(whole))
    )
