"""A server over gRPC: one channel; leaving a stream early cancels its call."""

from collections.abc import Generator
from typing import TypeVar, cast

import grpc

from nextword.calls import Call
from nextword.connection import Connection
from nextword.grpc_channel import open_channel
from nextword.grpc_errors import translate

__all__ = ["GrpcTransport"]

AnswerT = TypeVar("AnswerT")


class GrpcTransport:
    """Sends calls over one gRPC channel, which all of them share."""

    def __init__(self, connection: Connection) -> None:
        self._address = connection.address
        self._metadata = tuple(connection.authorization.items())
        self._channel = open_channel(connection.address, ca_file=connection.ca_file)

    def send(self, call: Call[AnswerT]) -> AnswerT:
        """The answer to a call."""
        method: grpc.UnaryUnaryMultiCallable[bytes | None, bytes]
        method = self._channel.unary_unary(call.path)
        running = method.future(call.body, timeout=call.seconds, metadata=self._metadata)
        try:
            data = running.result()
        except grpc.RpcError as error:
            raise translate(cast("grpc.Call", error), self._address) from None
        finally:
            # Ctrl-C arrives here too: the server must not go on for nobody.
            running.cancel()
        return call.read(data)

    def stream(self, call: Call[AnswerT]) -> Generator[AnswerT, None, None]:
        """The values of a stream of messages; closing the generator cancels the call."""
        method: grpc.UnaryStreamMultiCallable[bytes | None, bytes]
        method = self._channel.unary_stream(call.path)
        running = method(call.body, timeout=call.seconds, metadata=self._metadata)
        try:
            for data in running:
                yield call.read(data)
        except grpc.RpcError as error:
            raise translate(cast("grpc.Call", error), self._address) from None
        finally:
            running.cancel()

    def close(self) -> None:
        """Close the channel; calls that still run end."""
        self._channel.close()
