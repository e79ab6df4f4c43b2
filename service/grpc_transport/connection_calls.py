"""The calls of one connection: begun, refused, told what comes for them, and ended."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from h2.errors import ErrorCodes

from service.grpc_transport.call import ANSWER_HEAD, Call
from service.grpc_transport.call_head import (
    CallHeadError,
    Headers,
    encode_status,
    read_call_head,
)
from service.grpc_transport.connection_limits import ConnectionLimits
from service.grpc_transport.connection_output import ConnectionOutput
from service.grpc_transport.session import Session

__all__ = ["Answer", "ConnectionCalls"]

Answer = Callable[[Call], Awaitable[Headers]]

# Of each header beside its name and value (RFC 9113, 6.5.2).
_HEADER_BYTES = 32


class ConnectionCalls:
    """What runs on one connection.

    Args:
        answer: Answers a call; what it returns are the trailers.
        limits: What a call may cost.
        session: Whose streams they are.
        output: Where their answers go.
        on_ended: Called when one is over.
    """

    def __init__(
        self,
        answer: Answer,
        limits: ConnectionLimits,
        session: Session,
        output: ConnectionOutput,
        *,
        on_ended: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._limits = limits
        self._session = session
        self._output = output
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, Call] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._num_header_bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    def awaits(self, stream: int, *, is_last: bool) -> bool:
        """Whether there is a call that reads what comes for it, or waits for its last frame."""
        call = self._open.get(stream)
        return call is not None and (is_last or call.reads)

    def begin(self, stream: int, headers: Headers) -> bool:
        """Begin a call, or refuse it before anything is done for it; whether it has begun."""
        num_bytes = sum(len(name) + len(value) + _HEADER_BYTES for name, value in headers)
        num_held = self._num_header_bytes + num_bytes
        if (
            len(self._tasks) >= self._limits.max_calls
            or num_held > self._limits.max_held_header_bytes
        ):
            self.turn_away(stream)
            return False
        if num_bytes > self._limits.max_header_bytes:
            text = (
                f"metadata of {num_bytes} bytes; at most {self._limits.max_header_bytes} are read"
            )
            status = encode_status(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
            self._refuse(stream, ANSWER_HEAD + status)
            return False
        try:
            head = read_call_head(headers)
        except CallHeadError as error:
            self._refuse(stream, [(b":status", b"%d" % error.http_status)])
            return False
        call = Call(head, self._output, stream, max_message_bytes=self._limits.max_message_bytes)
        self._open[stream] = call
        task = self._loop.create_task(self._run(stream, call))
        self._tasks[stream] = task
        self._num_header_bytes = num_held
        task.add_done_callback(lambda _: self._forget(stream, num_bytes))
        return True

    def turn_away(self, stream: int) -> None:
        """Refuse a call in a way that lets its client make it again elsewhere."""
        self._session.reset(stream, ErrorCodes.REFUSED_STREAM)

    def take(self, stream: int, data: bytes, num_bytes: int) -> None:
        """Bytes have come for a call, and count for so many in the client's windows."""
        if (call := self._open.get(stream)) is not None:
            call.take(data, num_bytes)
        else:
            self._output.acknowledge(stream, num_bytes)

    def note_all_taken(self, stream: int) -> None:
        """No more comes for a call."""
        if (call := self._open.get(stream)) is not None:
            call.note_all_taken()

    def use_room(self, stream: int = 0) -> None:
        """Windows or socket let more through, of one call or (0) of all."""
        for each in self._output.take_held_back(stream):
            if (call := self._open.get(each)) is not None:
                call.note_room()

    def leave(self, stream: int) -> bool:
        """A call's client has left it; whether that was before anything of it was answered."""
        call = self._open.pop(stream, None)
        if call is not None:
            call.end()
            self._output.forget(stream)
        # Goes on until its handler has seen it.
        if (task := self._tasks.get(stream)) is not None:
            task.cancel()
        return call is not None and not call.is_head_sent

    def leave_all(self) -> None:
        """The client has left."""
        for stream in list(self._open):
            self.leave(stream)

    def cancel_all(self) -> None:
        """End what is running; the client is told."""
        for task in list(self._tasks.values()):
            task.cancel()

    def _refuse(self, stream: int, headers: Headers) -> None:
        self._session.send_headers(stream, headers, end_stream=True)
        self._session.reset(stream, ErrorCodes.NO_ERROR)

    async def _run(self, stream: int, call: Call) -> None:
        trailers = await self._answer(call)
        if call.is_over:
            return
        headers = trailers if call.is_head_sent else ANSWER_HEAD + trailers
        self._session.send_headers(stream, headers, end_stream=True)
        self._output.num_sent += 1
        if not call.has_all:
            # What it still sends is of no use to anybody.
            self._session.reset(stream, ErrorCodes.NO_ERROR)
        self._output.flush()
        # Before anything else comes: HTTP/2 knows the stream no more.
        call.end()
        self._output.forget(stream)

    def _forget(self, stream: int, num_header_bytes: int) -> None:
        self._num_header_bytes -= num_header_bytes
        self._tasks.pop(stream, None)
        if (call := self._open.pop(stream, None)) is not None:
            call.end()
        self._on_ended()
