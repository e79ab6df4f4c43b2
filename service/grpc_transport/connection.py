"""One client's connection: reads it frame by frame, and says how it ends.

Sources: RFC 9113; PROTOCOL-HTTP2 of gRPC.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from service.grpc_transport.call_head import Headers
from service.grpc_transport.client_conduct import ClientConduct
from service.grpc_transport.connection_calls import Answer, ConnectionCalls
from service.grpc_transport.connection_limits import ConnectionLimits
from service.grpc_transport.connection_output import ConnectionOutput
from service.grpc_transport.connection_times import ConnectionTimes
from service.grpc_transport.frame_cutter import (
    FRAME_HEAD_BYTES,
    FrameCutter,
    FrameTooLargeError,
    NotHttp2Error,
)
from service.grpc_transport.session import (
    END_STREAM,
    MAX_FRAME_BYTES,
    NO_STREAM_YET,
    FrameKind,
    Session,
    frame_goaway,
)

__all__ = ["Connection"]

_logger = logging.getLogger(__name__)

# What is read of one client before others have their turn; a frame takes 20 to 300 microseconds.
_FRAMES_IN_TURN = 32
_PING = b"nextword"
_LEAVING = b"leaving!"
_TOO_MANY_PINGS = b"too_many_pings"  # by which gRPC's clients know that they should ping less


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        answer: Answers a call; what it returns are the trailers.
        limits: What one connection may cost.
        on_made: Called with it when the client is there, its TLS agreed.
        on_lost: Called with it when it is gone.
    """

    def __init__(
        self,
        answer: Answer,
        limits: ConnectionLimits,
        *,
        on_made: "Callable[[Connection], None]",
        on_lost: "Callable[[Connection], None]",
    ) -> None:
        self._answer = answer
        self._limits = limits
        self._on_made = on_made
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        limits = self._limits
        self._transport = cast("asyncio.Transport", transport)
        self._frames = FrameCutter(max_frame_bytes=MAX_FRAME_BYTES)
        self._conduct = ClientConduct(limits)
        self._session = Session(limits)
        self._output = ConnectionOutput(self._session, self._transport)
        self._calls = ConnectionCalls(
            self._answer, limits, self._session, self._output, on_ended=self._note_call_ended
        )
        self._times = ConnectionTimes(
            limits, ping=self._ping, go_away=self.go_away, leave=self.leave, abort=self.abort
        )
        self._is_reading = True
        self._has_more_frames = False
        self._is_leaving = False
        # The last stream that is answered, once the client has been told.
        self._last_stream: int | None = None
        self._output.write(self._session.greet())
        self._times.start()
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        self._times.note_heard()
        if not self._transport.is_closing():
            self._frames.feed(data)
            if not self._has_more_frames:
                self._read_on()

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self._output.is_paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._output.is_paused = False
        self._times.note_heard()
        self._pace_reading()
        self._calls.use_room()

    def eof_received(self) -> None:
        """The client sends no more: clients of HTTP/2 that do so have left."""
        self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or we closed it."""
        self._times.stop()
        self._calls.leave_all()
        self._on_lost(self)

    # What the server asks for.

    @property
    def is_leaving(self) -> bool:
        """Whether its client has been asked to leave, or does so by itself."""
        return self._is_leaving

    @property
    def idle_since(self) -> float | None:
        """The loop's time when it had a call last, or began; None while it has some."""
        return self._times.idle_since

    def go_away(self) -> None:
        """Ask the client to leave: calls that have begun go on, others it must make elsewhere."""
        if self._is_leaving or self._transport.is_closing():
            return
        self._is_leaving = True
        if not self._times.is_greeted:
            self._close()
            return
        # Calls that are on their way meet no closed door: the last one is named when it is known.
        self._output.write(frame_goaway(NO_STREAM_YET, ErrorCodes.NO_ERROR))
        self._session.ping(_LEAVING)
        self._output.flush()
        self._times.note_leaving()

    def leave(self) -> None:
        """Tell the client which call is the last one that is answered; close after that."""
        self._is_leaving = True
        if self._last_stream is None:
            self._last_stream = self._session.highest_stream
            self._output.write(frame_goaway(self._last_stream, ErrorCodes.NO_ERROR))
            self._close_if_done()

    def cancel_calls(self) -> None:
        """End what is running."""
        self._calls.cancel_all()

    def abort(self) -> None:
        """Cut it."""
        self._transport.abort()

    # What comes.

    def _read_on(self) -> None:
        self._has_more_frames = False
        try:
            for _ in range(_FRAMES_IN_TURN):
                if self._transport.is_closing() or (frame := self._frames.next()) is None:
                    break
                self._receive(frame)
            else:
                self._has_more_frames = True
                self._loop.call_soon(self._read_on)
        except NotHttp2Error:
            self._close()
        except FrameTooLargeError:
            self._end(ErrorCodes.FRAME_SIZE_ERROR)
        except ProtocolError as error:
            _logger.debug("a client breaks HTTP/2: %s", error)
            self._output.flush()
            self._close()
        except Exception:
            # The loop would leave it half read.
            _logger.exception("a connection failed")
            self.abort()
        self._pace_reading()

    def _receive(self, frame: bytes) -> None:
        stream = int.from_bytes(frame[5:FRAME_HEAD_BYTES], "big") & NO_STREAM_YET
        is_awaited = stream > self._session.highest_stream or self._calls.awaits(
            stream, is_last=frame[4] & END_STREAM != 0
        )
        now, num_sent = self._loop.time(), self._output.num_sent
        if self._conduct.is_frame_too_many(frame, now, num_sent=num_sent, is_awaited=is_awaited):
            self._end(ErrorCodes.ENHANCE_YOUR_CALM)
            return
        if frame[3] == FrameKind.GOAWAY:
            # The client begins no more calls; those that are open go on.
            self._is_leaving = True
            self._last_stream = self._session.highest_stream
            self._close_if_done()
            return
        events = self._session.receive(frame)
        # What the client has set counts for it from our answer on, so that must go first.
        self._output.flush()
        for event in events:
            self._take(event)
        self._output.flush()

    def _take(self, event: Event) -> None:
        match event:
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self._calls.take(stream, data, length)
            case RequestReceived(stream_id=stream, headers=headers):
                self._begin(stream, cast("Headers", headers))
            case StreamEnded(stream_id=stream):
                self._calls.note_all_taken(stream)
            case WindowUpdated(stream_id=stream):
                self._calls.use_room(stream or 0)
            case RemoteSettingsChanged():
                self._times.note_greeted(is_busy=bool(self._calls))
                self._calls.use_room()
            case StreamReset(stream_id=stream):
                if self._calls.leave(stream):
                    self._count_reset()
            case PingReceived():
                now, num_sent = self._loop.time(), self._output.num_sent
                if self._conduct.is_ping_too_many(now, num_sent=num_sent):
                    self._end(ErrorCodes.ENHANCE_YOUR_CALM, _TOO_MANY_PINGS)
            case PingAckReceived(ping_data=data):
                if data == _LEAVING and self._is_leaving:
                    self.leave()
            case _:
                pass

    def _begin(self, stream: int, headers: Headers) -> None:
        if self._last_stream is not None and stream > self._last_stream:
            self._calls.turn_away(stream)
            self._count_reset()
        elif self._calls.begin(stream, headers):
            self._times.note_busy()
        else:
            self._count_reset()

    def _count_reset(self) -> None:
        now, num_sent = self._loop.time(), self._output.num_sent
        if self._conduct.is_reset_too_many(now, num_sent=num_sent):
            self._end(ErrorCodes.ENHANCE_YOUR_CALM)

    def _note_call_ended(self) -> None:
        if not self._calls:
            self._times.note_idle()
        self._close_if_done()

    def _pace_reading(self) -> None:
        if self._transport.is_closing():
            return
        may_read = not self._has_more_frames and not self._output.is_full
        if may_read != self._is_reading:
            self._is_reading = may_read
            if may_read:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _ping(self) -> None:
        self._session.ping(_PING)
        self._output.flush()

    # How it ends.

    def _end(self, reason: ErrorCodes, text: bytes = b"") -> None:
        self._output.write(frame_goaway(self._session.highest_stream, reason, text))
        self._close()

    def _close_if_done(self) -> None:
        if self._last_stream is not None and not self._calls:
            self._close()

    def _close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()
            self._times.note_closing()
            self._frames.clear()
            self._calls.leave_all()
