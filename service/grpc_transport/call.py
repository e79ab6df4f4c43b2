"""One call: what a handler knows of it, reads from it and writes to it."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol

import grpc

from service.grpc_transport.call_head import CallHead, Headers, Metadata, encode_metadata
from service.grpc_transport.connection_limits import READ_FIRST_SECONDS
from service.grpc_transport.message_frames import (
    ENCODINGS,
    MessageReader,
    frame_message,
)

__all__ = ["ANSWER_HEAD", "AbortError", "Call", "CallEndedError", "Sender"]

ANSWER_HEAD: Headers = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", ",".join(ENCODINGS).encode("ascii")),
]


class CallEndedError(Exception):
    """The call is over, so nothing can be written any more: its client has left, mostly."""


class AbortError(Exception):
    """A handler ends its call with a status."""

    def __init__(self, code: grpc.StatusCode, message: str, metadata: Metadata) -> None:
        super().__init__(code, message)
        self.code, self.message, self.metadata = code, message, metadata


class Sender(Protocol):
    """A connection, as its calls see it; they name the stream that is theirs."""

    def acknowledge(self, stream: int, num_bytes: int) -> None:
        """Let the client send so many bytes more."""
        ...

    def send_head(self, stream: int, headers: Headers) -> None:
        """Send a head."""
        ...

    def put(self, stream: int, data: bytes | memoryview) -> int:
        """Send as much of the beginning of some data as may be sent now; how much that was.

        What is left is asked for by `Call.note_room`.
        """
        ...


class Call:
    """What `grpc.aio` calls a ServicerContext, as far as handlers use one.

    Args:
        head: How it begins.
        sender: Its connection.
        stream: Its number there.
        max_message_bytes: Longest message that is read.

    Attributes:
        is_over: Whether its client has left, or everything is answered.
    """

    def __init__(
        self, head: CallHead, sender: Sender, stream: int, *, max_message_bytes: int
    ) -> None:
        self.head = head
        self.is_over = False
        self._sender = sender
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        timeout = head.timeout_seconds
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._reader = MessageReader(head.encoding, max_bytes=max_message_bytes)
        # Bytes that count against the client's windows until what waits has been read.
        self._num_held = 0
        self._has_all = False
        self._is_deaf = False
        self._is_head_sent = False
        # Of a message that was put.
        self._unsent: bytes | memoryview = b""
        # What a reader of messages, or a writer without room, waits for.
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._when_over: list[Callable[[], None]] = []
        self._serialize: Callable[[object], bytes] | None = None

    # What handlers use.

    def invocation_metadata(self) -> Metadata:
        """What its client sent along."""
        return self.head.metadata

    def time_remaining(self) -> float | None:
        """Seconds until its deadline, 0 when that has passed; None where it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def add_done_callback(self, act: Callable[[], None]) -> None:
        """Have something done when it is over."""
        if self.is_over:
            act()
        else:
            self._when_over.append(act)

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Send the head of the answer.

        Raises:
            CallEndedError: Nobody is there any more.
        """
        self._check_open()
        self._is_head_sent = True
        self._sender.send_head(self._stream, ANSWER_HEAD + encode_metadata(metadata))

    async def write(self, message: object) -> None:
        """Send a message; returns when the windows of HTTP/2 have let all of it through.

        Raises:
            CallEndedError: Nobody is there any more.
        """
        if not self._is_head_sent:
            await self.send_initial_metadata(())
        self._check_open()
        content = message if self._serialize is None else self._serialize(message)
        assert isinstance(content, bytes)
        await self._wait_sent()
        self.put(content)
        # Others have their turn, and the socket is written to, however much its client takes.
        await asyncio.sleep(0)
        await self._wait_sent()

    @property
    def may_put(self) -> bool:
        """Whether `put` may be called."""
        return self._is_head_sent and not self._unsent and not self.is_over

    def put(self, content: bytes) -> None:
        """Send the bytes of a message; what the windows hold back is sent as they open."""
        data = frame_message(content)
        num_sent = self._sender.put(self._stream, data)
        if num_sent < len(data):
            self._unsent = memoryview(data)[num_sent:]

    async def _wait_sent(self) -> None:
        while self._unsent:
            self._room = self._loop.create_future()
            await self._room
            self._check_open()

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> NoReturn:
        """End the call with a status."""
        raise AbortError(code, details, tuple(trailing_metadata))

    # What the server uses.

    @property
    def has_all(self) -> bool:
        """Whether no more messages come."""
        return self._has_all

    @property
    def reads(self) -> bool:
        """Whether anybody still reads."""
        return not self._is_deaf

    @property
    def is_head_sent(self) -> bool:
        """Whether the head of the answer is out."""
        return self._is_head_sent

    def serialize_by(self, serialize: Callable[[object], bytes] | None) -> None:
        """Say how a message becomes bytes; None says that it is bytes."""
        self._serialize = serialize

    def expire(self) -> None:
        """Its deadline has passed, whatever the grain of the clock says."""
        self._deadline = self._loop.time()

    async def read(self) -> bytes | None:
        """The next message; None when there is none.

        Raises:
            UnreadableMessageError: It cannot be read.
        """
        while not self._reader.has_next:
            if self._has_all:
                return None
            self._arrival = self._loop.create_future()
            await self._arrival
        message = self._reader.next()
        if not self._reader.has_next:
            self._acknowledge()
        return message

    async def read_within(self, seconds: float) -> bytes | None:
        """The next message; None when there is none.

        Raises:
            TimeoutError: It has not come whole in so many seconds.
            UnreadableMessageError: It cannot be read.
        """
        # Cancelled, a reader loses nothing.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self.read()
        async with asyncio.timeout(READ_FIRST_SECONDS):
            return await self.read()

    def read_no_more(self) -> None:
        """Nobody will read; what comes takes no room in the client's windows."""
        self._is_deaf = True
        self._acknowledge()

    # What the connection uses.

    def take(self, data: bytes, num_bytes: int) -> None:
        """Bytes of its messages have come.

        Args:
            data: These.
            num_bytes: What they count for in the client's window, padding included.
        """
        self._num_held += num_bytes
        if not self._is_deaf:
            self._reader.feed(data)
            if self._reader.has_next:
                _wake(self._arrival)
                return
        # Of one message at most a part waits, whose length is known to be allowed.
        self._acknowledge()

    def note_all_taken(self) -> None:
        """No more messages come."""
        self._has_all = True
        _wake(self._arrival)

    def note_room(self) -> None:
        """More of the answer may be sent than before."""
        if self._unsent:
            num_sent = self._sender.put(self._stream, self._unsent)
            self._unsent = self._unsent[num_sent:]
            if not self._unsent:
                _wake(self._room)

    def end(self) -> None:
        """It is over."""
        if self.is_over:
            return
        self.is_over = True
        self._unsent = b""
        self.read_no_more()
        _wake(self._room)
        for act in self._when_over:
            act()
        self._when_over.clear()

    def _acknowledge(self) -> None:
        if self._num_held:
            num_held, self._num_held = self._num_held, 0
            self._sender.acknowledge(self._stream, num_held)

    def _check_open(self) -> None:
        if self.is_over:
            raise CallEndedError


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
