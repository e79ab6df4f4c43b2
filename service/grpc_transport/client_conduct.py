"""What a client does that costs us much and it little: counted, and too much at some point."""

from service.grpc_transport.connection_limits import ConnectionLimits
from service.grpc_transport.frame_cutter import FRAME_HEAD_BYTES
from service.grpc_transport.session import END_STREAM, FrameKind

__all__ = ["ClientConduct"]

_MINUTE = 60.0
# Pings that may come too early.
_MAX_EARLY_PINGS = 2
# Windows and pings that a client may send for a frame of data or an answer that it got: gRPC's
# clients measure a connection's speed with them.
_EARNED = 4
# A frame of data that carries less, and is not a call's last, is as dear as one that carries none.
_SMALL_BYTES = 8


class ClientConduct:
    """The counts of one connection.

    Args:
        limits: How much is too much.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._pinged_at = 0.0
        self._num_sent_at_ping = 0
        self._num_early_pings = 0
        self._minute_began_at = 0.0
        self._num_resets = 0
        self._num_idle_frames = 0
        self._num_sent_at_minute = 0

    def is_ping_too_many(self, now: float, *, num_sent: int) -> bool:
        """Whether a ping is one too many.

        Args:
            now: The loop's time.
            num_sent: Frames of data that the client has been sent, and ends of calls.
        """
        is_early = (
            num_sent == self._num_sent_at_ping
            and now - self._pinged_at < self._limits.client_ping_seconds
        )
        self._num_early_pings = self._num_early_pings + 1 if is_early else 0
        self._pinged_at, self._num_sent_at_ping = now, num_sent
        return self._num_early_pings > _MAX_EARLY_PINGS

    def is_reset_too_many(self, now: float, *, num_sent: int) -> bool:
        """Whether a call that is taken back, or refused unheard, is one too many."""
        self._note_minute(now, num_sent)
        self._num_resets += 1
        return self._num_resets > self._limits.max_resets

    def is_frame_too_many(
        self, frame: bytes, now: float, *, num_sent: int, is_awaited: bool
    ) -> bool:
        """Whether a frame that asks for nothing is one too many.

        Args:
            frame: The whole frame.
            now: The loop's time.
            num_sent: Frames of data that the client has been sent, and ends of calls.
            is_awaited: Whether it begins a call, or its call reads what comes.
        """
        kind, is_last = frame[3], frame[4] & END_STREAM
        is_large = len(frame) > FRAME_HEAD_BYTES + _SMALL_BYTES
        # Calls have bounds of their own.
        asks = kind == FrameKind.HEADERS or (kind == FrameKind.DATA and (is_large or is_last))
        if is_awaited and asks:
            return False
        self._note_minute(now, num_sent)
        self._num_idle_frames += 1
        earned = _EARNED * (num_sent - self._num_sent_at_minute)
        return self._num_idle_frames > self._limits.max_idle_frames + earned

    def _note_minute(self, now: float, num_sent: int) -> None:
        if now - self._minute_began_at > _MINUTE:
            self._minute_began_at = now
            self._num_resets = self._num_idle_frames = 0
            self._num_sent_at_minute = num_sent
