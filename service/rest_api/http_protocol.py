"""One HTTP/1.1 connection: uvicorn's parser and cycle within limits of receipt and delivery.

uvicorn has no deadline on receiving a request, no limit on its head and no end for a client that
stops reading. What is refused here never reaches the application, and has the one error body.
"""

import asyncio
import enum
import socket
from collections.abc import Callable
from typing import cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.errors import ErrorKind, RequestError
from service.rest_api.connections import Connections, raw_error_response, tune_socket
from service.rest_api.direct_writer import DirectWriter
from service.rest_api.request_head import Receipt, RequestHead
from service.transport_limits import TransportLimits

__all__ = ["HttpProtocol"]

# With the kernel's own buffer: a client which does not read holds back the stream, not our memory.
WRITE_BUFFER_BYTES = 32 * 1024
# Framing of a body in chunks of one byte, twice over; more is an attack by extensions or trailers.
MAX_FRAMING_PER_BODY_BYTE = 16
# Lets the client read a refusal before the connection goes away under what it still sends.
LINGER_SECONDS = 1.0


class _Stage(enum.Enum):
    """How much of a request has been received."""

    NOTHING = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class HttpProtocol(HttpToolsProtocol):
    """A connection.

    Args:
        limits: What it may cost.
        connections: All connections of the server.
        on_refusal: Called with the code of each refusal that no application sees.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: TransportLimits,
        connections: Connections,
        on_refusal: Callable[[str], None],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._all = connections
        self._on_refusal = on_refusal
        self._stage = _Stage.NOTHING
        self._head = RequestHead(limits)
        self._receipt = Receipt()
        # Bytes are still read, so that the end of the connection is noticed, but not parsed.
        self._is_deaf = False
        self._num_bytes = self._num_body_bytes = 0
        self._num_unsent_bytes = 0  # when the stall timer was started last
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many; the base class declares less of it."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        tune_socket(cast("socket.socket", transport.get_extra_info("socket")))
        if not self._all.admit(self):
            self._on_refusal(ErrorKind.TOO_MANY_CONNECTIONS.code)
            self._is_deaf = True
            error = RequestError(
                ErrorKind.TOO_MANY_CONNECTIONS,
                f"all {self._all.maximum} connections are taken",
                retry_after_seconds=1,
            )
            transport.write(raw_error_response(error))
            transport.close()
            return
        self._start("receipt", self._limits.receive_timeout_seconds, self._not_received)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        for name in list(self._timers):
            self._stop(name)
        self._all.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse within the limits."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._all.note_busy(self)
        parser = self.parser
        assert parser is not None
        if self._stage is _Stage.NOTHING and self._is_answering:
            self._end_after_answer()
            return
        if "receipt" not in self._timers:
            self._start("receipt", self._limits.receive_timeout_seconds, self._not_received)
        self._num_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No other protocol is offered; the request itself is answered.
            self._end_after_answer()
        except httptools.HttpParserError as error:
            if not self._is_deaf:
                # What our own callbacks raise arrives as the context of the parser's error.
                refusal = error.__context__
                if not isinstance(refusal, RequestError):
                    refusal = RequestError(ErrorKind.INVALID_HTTP, "this is no valid HTTP")
                self._refuse(refusal)
        else:
            framing = self._num_bytes - self._num_body_bytes
            allowed = MAX_FRAMING_PER_BODY_BYTE * self._num_body_bytes
            if framing > self._limits.max_head_bytes + allowed:
                self._refuse(self._head.too_large())

    def on_message_begin(self) -> None:
        """A request begins; one that does not wait for the answer to the last one is not read."""
        if self._is_answering:
            self._end_after_answer()
            raise RequestError(ErrorKind.INVALID_HTTP, "answers are given one by one")
        super().on_message_begin()
        self._stage = _Stage.HEAD
        self._num_body_bytes = 0
        self._head = RequestHead(self._limits)
        self._receipt = Receipt()

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        super().on_url(url)
        self._head.count_url(self.url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which would change the headers under the running request."""
        if self._stage is _Stage.BODY:
            return
        self._head.count_header(name, value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Judge the head and hand the request to the application."""
        parser = self.parser
        assert parser is not None
        self._head.judge(
            self.headers,
            version=parser.get_http_version(),
            wants_upgrade=parser.should_upgrade(),
        )
        state = self.scope["state"]  # type: ignore[typeddict-item]  # uvicorn always sets it
        state["receipt"], state["cut_off"] = self._receipt, self._cut_off
        super().on_headers_complete()
        state["direct_writer"] = DirectWriter(self.cycle)
        self._stage = _Stage.BODY

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._num_body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        super().on_message_complete()
        self._stage = _Stage.NOTHING
        self._num_bytes = self._num_body_bytes = 0
        self._stop("receipt")
        if not self._is_answering:
            # The answer came before the end of a body that nobody wanted.
            self._wait_for_next()

    def on_response_complete(self) -> None:
        """The answer is written."""
        super().on_response_complete()
        if self.transport.is_closing():
            # What the client does not take would be kept for ever.
            self._watch_delivery()
        elif self._stage is _Stage.NOTHING:
            self._wait_for_next()

    def pause_writing(self) -> None:
        """The client reads slower than we write: it must go on reading."""
        super().pause_writing()
        self._all.note_busy(self)
        self._watch_delivery()

    def resume_writing(self) -> None:
        """It has."""
        super().resume_writing()
        if self.transport.is_closing():
            return
        self._stop("stall")
        if not self._is_answering and self._stage is _Stage.NOTHING:
            self._wait_for_next()

    def timeout_keep_alive_handler(self) -> None:
        """The connection was idle for too long."""
        if "stall" not in self._timers:
            # Else the last answer is still being read, however long ago it was written.
            self.close_idle()

    def close_idle(self) -> None:
        """Close a connection that has no request on it."""
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        else:
            self.transport.close()

    @property
    def is_delivering(self) -> bool:
        """Whether a request on it has not been answered to the last byte."""
        return self._is_answering or self.transport.get_write_buffer_size() > 0

    @property
    def _is_answering(self) -> bool:
        # None before the first request, whatever uvicorn's annotation says.
        return cast("object", self.cycle) is not None and not self.cycle.response_complete

    def _wait_for_next(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self._limits.idle_timeout_seconds, self.timeout_keep_alive_handler
        )
        if "stall" not in self._timers:
            self._all.note_idle(self)

    def _not_received(self) -> None:
        if self._stage is _Stage.NOTHING:
            self.close_idle()
            return
        seconds = self._limits.receive_timeout_seconds
        message = f"the request must arrive whole within {seconds:g} seconds"
        self._refuse(RequestError(ErrorKind.REQUEST_TIMEOUT, message))

    def _watch_delivery(self) -> None:
        self._num_unsent_bytes = self.transport.get_write_buffer_size()
        self._start("stall", self._limits.stall_timeout_seconds, self._check_delivery)

    def _check_delivery(self) -> None:
        # Nothing is added meanwhile: writers wait until writing resumes. So less is progress.
        if self.transport.get_write_buffer_size() < self._num_unsent_bytes:
            self._watch_delivery()
            return
        self._cut_off()

    def _cut_off(self) -> None:
        self._on_refusal("slow_reader")
        self.transport.abort()

    def _refuse(self, error: RequestError) -> None:
        """Answer with an error, in whatever state the connection is, and close it."""
        self._is_deaf = True
        if self._stage is not _Stage.BODY:
            self._on_refusal(error.kind.code)
            self.transport.write(raw_error_response(error))
            if self.transport.can_write_eof():
                self.transport.write_eof()
        elif self._is_answering:
            # The application reads the body: it gets the error there.
            self._receipt.failure = error
            self.cycle.keep_alive = False
            self.cycle.message_event.set()
        else:
            # The answer is out, and the rest of the body was of no use.
            self.transport.close()
        self._start("linger", LINGER_SECONDS, self.transport.abort)

    def _end_after_answer(self) -> None:
        self._is_deaf = True
        if self._is_answering:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _start(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        self._stop(name)
        self._timers[name] = self.loop.call_later(seconds, self._fire, name, callback)

    def _stop(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

    def _fire(self, name: str, callback: Callable[[], None]) -> None:
        del self._timers[name]
        callback()
