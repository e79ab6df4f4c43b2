"""Around every call: safe parsing, a request id, one outcome, and errors as statuses."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message

from service.api_keys import ApiKeys
from service.errors import ErrorKind, RequestError
from service.grpc_api.errors import abort
from service.grpc_api.paced_context import Head, PacedContext, client_left, write_whole
from service.grpc_transport.call import Call
from service.large_answers import ANSWER_MEMORY
from service.metrics import Metrics
from service.request_ids import Exchange, clean_request_id, trace_id_of
from service.request_log import OK, RequestLog, RequestRecord
from service.transport_limits import MAX_MESSAGE_BYTES, TransportLimits

__all__ = ["Calls", "RpcHandler", "authorizations"]

_logger = logging.getLogger(__name__)

_REQUEST_ID = "x-request-id"
_KEY = "authorization"
_OTHER = "other"
# Refused with this and nothing before it, a call may be made again at another server.
_ELSEWHERE = "UNAVAILABLE"

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT")

Behaviour = Callable[[RequestT, Call, RequestRecord], Awaitable[ResponseT]]
StreamBehaviour = Callable[[RequestT, PacedContext, RequestRecord], Awaitable[None]]
RpcHandler: TypeAlias = "grpc.RpcMethodHandler[object, Message]"


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Stands for a request that is no message of its type, and says why."""

    error: RequestError


class Calls:
    """Makes gRPC's handlers of our behaviours.

    Args:
        service: Full name of the service.
        log: Opens and closes the records.
        metrics: Where calls are timed.
        limits: Of messages and of patience with slow readers.
        keys: Tell whose a call is; None where nobody is asked for a key.
    """

    def __init__(
        self,
        service: str,
        *,
        log: RequestLog,
        metrics: Metrics,
        limits: TransportLimits,
        keys: ApiKeys | None = None,
    ) -> None:
        self._service = service
        self._log = log
        self._metrics = metrics
        self._limits = limits
        self._keys = keys
        self._num_open = 0
        self._all_delivered = asyncio.Event()
        self._all_delivered.set()

    async def wait_delivered(self) -> None:
        """Return when no call of our methods is open, its status sent or its client gone."""
        await self._all_delivered.wait()

    def unary(
        self,
        name: str,
        request_type: type[RequestT],
        behaviour: Behaviour[RequestT, bytes] | Behaviour[RequestT, Message],
    ) -> RpcHandler:
        """A call with one answer, which its behaviour returns.

        On the wire it is a stream of one message, and so it is for the transport here, since its
        memory and the patience with its reader are counted while it is written.
        """

        async def handle(message: RequestT | _Unreadable, context: Call) -> None:
            async def answered(message: RequestT, head: Head, record: RequestRecord) -> None:
                answer = await behaviour(message, context, record)
                data = answer if isinstance(answer, bytes) else _serialize(answer)
                seconds = self._limits.reading_seconds(len(data))
                with ANSWER_MEMORY.held(len(data)):
                    await write_whole(context, head, data, seconds=seconds)

            await self._guard(name, answered, message, context)

        return cast(
            "RpcHandler",
            grpc.unary_stream_rpc_method_handler(
                handle, request_deserializer=_reader(request_type), response_serializer=_as_it_is
            ),
        )

    def stream(
        self, name: str, request_type: type[RequestT], behaviour: StreamBehaviour[RequestT]
    ) -> RpcHandler:
        """A call whose behaviour writes its answers to the context."""

        async def handle(message: RequestT | _Unreadable, context: Call) -> None:
            async def paced(message: RequestT, head: Head, record: RequestRecord) -> None:
                own = PacedContext(context, head, stall_seconds=self._limits.stall_timeout_seconds)
                with own.watched():
                    await behaviour(message, own, record)

            await self._guard(name, paced, message, context)

        return cast(
            "RpcHandler",
            grpc.unary_stream_rpc_method_handler(
                handle, request_deserializer=_reader(request_type), response_serializer=_serialize
            ),
        )

    def unknown(self) -> RpcHandler:
        """Answers methods that nobody offers."""
        return self.refusing(RequestError(ErrorKind.UNKNOWN_URL, "no such method"))

    def refusing(self, error: RequestError) -> RpcHandler:
        """Answers whatever it is asked with an error; no message of the call is read."""

        async def handle(messages: object, context: Call) -> None:
            exchange, began = self._exchange(context), time.perf_counter()
            self._log.refuse(error, protocol="grpc", route=_OTHER, exchange=exchange)
            self._time(None, error, exchange, began)
            with contextlib.suppress(RequestError):
                await Head(context, request_id=exchange.request_id).send()
            await abort(context, error, request_id=exchange.request_id)

        return cast("RpcHandler", grpc.stream_stream_rpc_method_handler(handle))

    async def _guard(
        self,
        name: str,
        deliver: Callable[[RequestT, Head, RequestRecord], Awaitable[None]],
        message: RequestT | _Unreadable,
        context: Call,
    ) -> None:
        exchange, began = self._exchange(context), time.perf_counter()
        head = Head(context, request_id=exchange.request_id)
        self._follow(context)
        failure: RequestError | None = None
        try:
            with self._log.request(protocol="grpc", route=name, exchange=exchange) as record:
                if isinstance(message, _Unreadable):
                    raise message.error
                await _run(deliver(message, head, record), context)
                return
        except RequestError as error:
            # Its traceback would hold the answer for as long as the client lets the call stay.
            failure = error.with_traceback(None)
        except asyncio.CancelledError:
            failure = client_left()
            raise
        except Exception:
            _logger.exception("request %s failed", exchange.request_id)
            failure = RequestError(ErrorKind.INTERNAL_ERROR, "internal error")
        finally:
            self._time(name, failure, exchange, began)
        assert failure is not None
        if failure.kind is ErrorKind.CANCELLED:
            # Nobody is there to be told.
            raise asyncio.CancelledError
        if failure.kind.grpc_status != _ELSEWHERE:
            with contextlib.suppress(RequestError):
                await head.send()
        await abort(context, failure, request_id=exchange.request_id)

    def _exchange(self, context: Call) -> Exchange:
        metadata = context.invocation_metadata() or ()
        given = {key: value for key, value in metadata if isinstance(value, str)}
        return Exchange(
            clean_request_id(given.get(_REQUEST_ID)),
            trace_id_of(given.get("traceparent")),
            api_key=None if self._keys is None else self._keys.find(authorizations(metadata)),
        )

    def _follow(self, context: Call) -> None:
        # The record of a call ends when its answer is handed over, the call with its status.
        self._num_open += 1
        self._all_delivered.clear()
        context.add_done_callback(self._note_over)

    def _note_over(self) -> None:
        self._num_open -= 1
        if self._num_open == 0:
            self._all_delivered.set()

    def _time(
        self, name: str | None, error: RequestError | None, exchange: Exchange, began: float
    ) -> None:
        self._metrics.rpc_seconds.labels(
            "grpc",
            _OTHER if name is None else f"{self._service}/{name}",
            "OK" if error is None else error.kind.grpc_status,
            "" if error is None or exchange.outcome == OK else error.kind.code,
        ).observe(time.perf_counter() - began)


async def _run(delivery: Awaitable[None], context: Call) -> None:
    try:
        await delivery
    except asyncio.CancelledError:
        # The transport cancels at the deadline as it does when the client leaves.
        if context.time_remaining() == 0.0:
            raise RequestError(
                ErrorKind.DEADLINE_EXCEEDED, "the deadline passed before the text was complete"
            ) from None
        raise


def _reader(request_type: type[RequestT]) -> Callable[[bytes], RequestT | _Unreadable]:
    def read(data: bytes) -> RequestT | _Unreadable:
        if len(data) > MAX_MESSAGE_BYTES:
            return _Unreadable(
                RequestError(
                    ErrorKind.REQUEST_TOO_LARGE,
                    f"the message must be at most {MAX_MESSAGE_BYTES} bytes, got {len(data)}",
                )
            )
        try:
            return request_type.FromString(data)
        except DecodeError:
            return _Unreadable(
                RequestError(ErrorKind.INVALID_VALUE, "the request is no message of its type")
            )

    return read


def _serialize(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def _as_it_is(data: bytes) -> bytes:
    return data


def authorizations(metadata: Iterable[tuple[str, str | bytes]]) -> list[str]:
    """What a call's metadata says under `authorization`."""
    return [value for name, value in metadata if name == _KEY and isinstance(value, str)]
