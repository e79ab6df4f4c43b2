"""A server over gRPC for programs of asyncio; otherwise as `grpc_transport`."""

import asyncio
from collections.abc import AsyncGenerator
from functools import cached_property
from typing import TypeVar, cast

import grpc
import grpc.aio

from nextword.calls import Call
from nextword.connection import Connection
from nextword.errors import ConnectionFailedError
from nextword.grpc_channel import open_asyncio_channel
from nextword.grpc_errors import translate

__all__ = ["AsyncGrpcTransport"]

AnswerT = TypeVar("AnswerT")


class AsyncGrpcTransport:
    """Sends calls over one gRPC channel, which all of them share."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._metadata = tuple(connection.authorization.items())

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # A channel belongs to the loop that runs when it is opened; a client may be made before.
        return open_asyncio_channel(self._connection.address, ca_file=self._connection.ca_file)

    async def send(self, call: Call[AnswerT]) -> AnswerT:
        """The answer to a call."""
        method: grpc.aio.UnaryUnaryMultiCallable[bytes | None, bytes]
        method = self._channel.unary_unary(call.path)
        running = method(call.body, timeout=call.seconds, metadata=self._metadata)
        try:
            data = await running
        except asyncio.CancelledError:
            self._check_closed()
            raise
        except grpc.aio.AioRpcError as error:
            raise translate(cast("grpc.Call", error), self._connection.address) from None
        finally:
            running.cancel()
        return call.read(data)

    async def stream(self, call: Call[AnswerT]) -> AsyncGenerator[AnswerT, None]:
        """The values of a stream of messages; closing the generator cancels the call."""
        method: grpc.aio.UnaryStreamMultiCallable[bytes | None, bytes]
        method = self._channel.unary_stream(call.path)
        running = method(call.body, timeout=call.seconds, metadata=self._metadata)
        try:
            async for data in running:
                yield call.read(data)
        except asyncio.CancelledError:
            self._check_closed()
            raise
        except grpc.aio.AioRpcError as error:
            raise translate(cast("grpc.Call", error), self._connection.address) from None
        finally:
            running.cancel()

    async def close(self) -> None:
        """Close the channel; calls that still run end."""
        if "_channel" in self.__dict__:
            await self._channel.close()

    def _check_closed(self) -> None:
        # Closing a channel cancels its calls, and that looks as if somebody had cancelled the task
        # that waits on one: it would end without an error that its program can see.
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            raise ConnectionFailedError(
                f"the connection to {self._connection.address.url} broke: it was closed here",
                was_sent=True,
            ) from None
