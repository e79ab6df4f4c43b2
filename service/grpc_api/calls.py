"""Around every call: safe parsing, a request id, one outcome, and errors as statuses.

The library would answer INTERNAL to bytes it cannot parse and show the text of exceptions.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from service.errors import ErrorKind, RequestError
from service.grpc_api.errors import abort
from service.grpc_api.handlers import Context, time_remaining
from service.request_ids import clean_request_id
from service.request_log import RequestLog, RequestRecord

__all__ = ["stream_call", "unary_call"]

_logger = logging.getLogger(__name__)

_REQUEST_ID = "x-request-id"

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT")

Behaviour = Callable[[RequestT, Context, RequestRecord], Awaitable[ResponseT]]


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Stands for a request that is no message of its type."""


def unary_call(
    name: str,
    log: RequestLog,
    request_type: type[RequestT],
    behaviour: Behaviour[RequestT, Message],
) -> "grpc.RpcMethodHandler[RequestT | _Unreadable, Message]":
    """A call with one answer."""
    return grpc.unary_unary_rpc_method_handler(
        _guarded(name, log, behaviour),
        request_deserializer=_reader(request_type),
        response_serializer=_serialize,
    )


def stream_call(
    name: str, log: RequestLog, request_type: type[RequestT], behaviour: Behaviour[RequestT, None]
) -> "grpc.RpcMethodHandler[RequestT | _Unreadable, Message]":
    """A call whose behaviour writes its answers to the context."""
    return grpc.unary_stream_rpc_method_handler(
        _guarded(name, log, behaviour),
        request_deserializer=_reader(request_type),
        response_serializer=_serialize,
    )


def _guarded(
    name: str, log: RequestLog, behaviour: Behaviour[RequestT, ResponseT]
) -> Callable[[RequestT | _Unreadable, Context], Awaitable[ResponseT]]:
    async def handle(message: RequestT | _Unreadable, context: Context) -> ResponseT:
        request_id = clean_request_id(_given_request_id(context))
        await context.send_initial_metadata(((_REQUEST_ID, request_id),))
        try:
            with log.request(protocol="grpc", route=name, request_id=request_id) as record:
                if isinstance(message, _Unreadable):
                    raise RequestError(
                        ErrorKind.INVALID_VALUE, "the request is no message of its type"
                    )
                return await _run(behaviour, message, context, record)
        except RequestError as error:
            await abort(context, error, request_id=request_id)
        except asyncio.CancelledError:
            raise
        except Exception:
            _logger.exception("request %s failed", request_id)
            error = RequestError(ErrorKind.INTERNAL_ERROR, "internal error")
            await abort(context, error, request_id=request_id)

    return handle


async def _run(
    behaviour: Behaviour[RequestT, ResponseT],
    message: RequestT,
    context: Context,
    record: RequestRecord,
) -> ResponseT:
    try:
        return await behaviour(message, context, record)
    except asyncio.CancelledError:
        # The library cancels at the deadline as it does when the client leaves.
        if time_remaining(context) == 0.0:
            raise RequestError(
                ErrorKind.DEADLINE_EXCEEDED, "the deadline passed before the text was complete"
            ) from None
        raise


def _reader(request_type: type[RequestT]) -> Callable[[bytes], RequestT | _Unreadable]:
    def read(data: bytes) -> RequestT | _Unreadable:
        try:
            return request_type.FromString(data)
        except DecodeError:
            return _Unreadable()

    return read


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _given_request_id(context: Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == _REQUEST_ID and isinstance(value, str):
            return value
    return None
