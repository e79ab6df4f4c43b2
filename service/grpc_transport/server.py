"""The server: handlers as `grpc.aio` has them, connections of our own."""

import asyncio
import inspect
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, cast

import grpc
from google.protobuf.message import DecodeError

from service.grpc_transport.call import AbortError, Call, CallEndedError
from service.grpc_transport.call_head import Headers, Metadata, encode_status
from service.grpc_transport.connection import Connection
from service.grpc_transport.connection_limits import ConnectionLimits
from service.grpc_transport.message_frames import UnreadableMessageError

__all__ = ["TransportServer"]

# For a client whose connection is wanted for another to take in why.
_LAST_WORDS_SECONDS = 1.0
# Connections that the kernel makes before they are taken, as for REST.
_BACKLOG = 2048
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Details(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: Metadata


class _Handler(Protocol):
    """A `grpc.RpcMethodHandler`, as far as it is looked at here."""

    request_streaming: bool
    response_streaming: bool
    request_deserializer: Callable[[bytes], object] | None
    response_serializer: Callable[[object], bytes] | None
    unary_unary: Callable[[object, object], Awaitable[object]] | None
    unary_stream: Callable[[object, object], object] | None
    stream_unary: Callable[[object, object], Awaitable[object]] | None
    stream_stream: Callable[[object, object], object] | None


class TransportServer:
    """Takes calls on one port.

    Args:
        listener: The port.
        limits: What one connection may cost.
        max_connections: Open at once; above, the longest idle one makes room, or the new one goes.
        tls: Encrypts every connection; None leaves them in the clear.
        interceptors: See every call before its handler.
    """

    def __init__(
        self,
        listener: socket.socket,
        limits: ConnectionLimits,
        *,
        max_connections: int,
        tls: ssl.SSLContext | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._listener = listener
        self._max_connections = max_connections
        self._tls = tls
        self._limits = limits
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._find = self._find_handler
        for interceptor in reversed(interceptors):
            self._find = _intercepted(interceptor, self._find)
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._is_stopping = False
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    def add_generic_rpc_handlers(self, handlers: "Sequence[grpc.GenericRpcHandler]") -> None:
        """Ask them too, after those that are there."""
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
        """What generated code calls beside `add_generic_rpc_handlers`, with the same handlers."""
        del service, handlers

    async def start(self) -> None:
        """Take calls from now on."""
        seconds = None if self._tls is None else self._limits.greeting_seconds
        self._server = await asyncio.get_running_loop().create_server(
            self._connection,
            sock=self._listener,
            ssl=self._tls,
            ssl_handshake_timeout=seconds,
            backlog=_BACKLOG,
        )

    async def stop(self, grace: float) -> None:
        """Take none any more, end what is left after so many seconds, and let the port go."""
        self._is_stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.go_away()
        if not await self._is_empty(grace):
            for connection in list(self._connections):
                connection.cancel_calls()
            if not await self._is_empty(grace):
                for connection in list(self._connections):
                    connection.abort()
                await self._is_empty(grace)

    async def _is_empty(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._all_gone.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _connection(self) -> Connection:
        return Connection(
            self._answer, self._limits, on_made=self._note_made, on_lost=self._note_lost
        )

    def _note_made(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._all_gone.clear()
        if self._is_stopping:
            # Its TLS was still being agreed on.
            connection.go_away()
        elif len(self._connections) > self._max_connections:
            self._make_room(connection)

    def _make_room(self, newest: Connection) -> None:
        staying = [each for each in self._connections if not each.is_leaving]
        if len(staying) <= self._max_connections:
            return
        idle = [
            (each.idle_since, number, each)
            for number, each in enumerate(staying)
            if each is not newest and each.idle_since is not None
        ]
        _, _, leaving = min(idle, default=(0.0, 0, newest))
        leaving.leave()
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, leaving.abort)

    def _note_lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    async def _find_handler(self, details: grpc.HandlerCallDetails) -> _Handler | None:
        for each in self._handlers:
            if (handler := each.service(details)) is not None:
                return cast("_Handler", handler)
        return None

    async def _answer(self, call: Call) -> Headers:
        """Answer a call; its trailers."""
        remaining = call.time_remaining()
        timer = None
        if remaining is not None:
            task = asyncio.current_task()
            assert task is not None
            timer = asyncio.get_running_loop().call_later(remaining, _expire, call, task)
        try:
            await self._handle(call)
        except AbortError as error:
            return encode_status(error.code, error.message, error.metadata)
        except UnreadableMessageError as error:
            return encode_status(error.code, error.message)
        except asyncio.CancelledError:
            if call.time_remaining() == 0.0:
                return encode_status(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
            if not call.is_over:
                return encode_status(grpc.StatusCode.UNAVAILABLE, "the server is leaving")
        except CallEndedError:
            pass
        except Exception:
            _logger.exception("a call of %s failed", call.head.method)
            return encode_status(grpc.StatusCode.UNKNOWN, "internal error")
        finally:
            if timer is not None:
                timer.cancel()
        return encode_status(grpc.StatusCode.OK, "")

    async def _handle(self, call: Call) -> None:
        handler = await self._find(_Details(call.head.method, call.head.metadata))
        if handler is None:
            await call.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        call.serialize_by(handler.response_serializer)
        read = handler.request_deserializer or _as_it_is
        if handler.request_streaming:
            given: object = _messages(call, read)
            behaviour = handler.stream_stream or handler.stream_unary
        else:
            try:
                message = await call.read_within(self._limits.message_seconds)
            except TimeoutError:
                await call.abort(
                    grpc.StatusCode.CANCELLED,
                    f"no message came within {self._limits.message_seconds:g} seconds",
                )
            call.read_no_more()
            if message is None:
                await call.abort(grpc.StatusCode.INTERNAL, "a call without a message")
            given = _deserialized(message, read)
            behaviour = handler.unary_stream or handler.unary_unary
        assert behaviour is not None
        answer = behaviour(given, call)
        if inspect.isasyncgen(answer):
            async with aclosing(answer):
                async for each in answer:
                    await call.write(each)
        else:
            whole = await cast("Awaitable[object]", answer)
            if not handler.response_streaming:
                await call.write(whole)


def _expire(call: Call, task: "asyncio.Task[object]") -> None:
    call.expire()
    task.cancel()


async def _messages(call: Call, read: Callable[[bytes], object]) -> AsyncIterator[object]:
    while (message := await call.read()) is not None:
        yield _deserialized(message, read)


def _deserialized(message: bytes, read: Callable[[bytes], object]) -> object:
    try:
        return read(message)
    except DecodeError:
        raise UnreadableMessageError(
            grpc.StatusCode.INTERNAL, "a message that is none of its method's type"
        ) from None


def _as_it_is(data: bytes) -> bytes:
    return data


def _intercepted(
    interceptor: grpc.aio.ServerInterceptor,
    find: "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]",
) -> "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]":
    async def found(details: grpc.HandlerCallDetails) -> _Handler | None:
        return cast(
            "_Handler | None", await interceptor.intercept_service(cast(Any, find), details)
        )

    return found
