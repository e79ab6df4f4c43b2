"""The clocks of one connection: greeting, silence, idleness, age, and its own end.

None is set anew for a message: they look, when they go off, at what has happened since.
"""

import asyncio
import random
from collections.abc import Callable

from service.grpc_transport.connection_limits import READ_FIRST_SECONDS, ConnectionLimits

__all__ = ["ConnectionTimes"]

# Until a client that was asked to leave has had the time to say so: the way there and back.
_LEAVE_SECONDS = 1.0


class ConnectionTimes:
    """The clocks.

    Args:
        limits: How long.
        ping: Asks the client whether it is there.
        go_away: Asks it to leave.
        leave: Goes on with an end that was asked for.
        abort: Cuts the connection.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        *,
        ping: Callable[[], None],
        go_away: Callable[[], None],
        leave: Callable[[], None],
        abort: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._ping = ping
        self._go_away = go_away
        self._leave = leave
        self._abort = abort
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._has_answered = False
        self._idle_since: float | None = self._heard_at
        self._is_greeted = False
        self._is_stopped = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def is_greeted(self) -> bool:
        """Whether the client has said that it speaks HTTP/2."""
        return self._is_greeted

    @property
    def idle_since(self) -> float | None:
        """The loop's time when it had a call last, or began; None while it has some."""
        return self._idle_since

    def start(self) -> None:
        """The connection is open."""
        limits = self._limits
        self._set("greeting", limits.greeting_seconds, self._abort)
        self._set("silence", limits.ping_seconds, self._judge_silence)
        if limits.max_age_seconds > 0:
            # Clients that came together need not leave together.
            seconds = limits.max_age_seconds * random.uniform(0.9, 1.1)
            self._set("age", seconds, self._end_of_age)

    def note_heard(self) -> None:
        """The client has sent something, or taken something in."""
        self._heard_at = self._loop.time()
        self._has_answered = True

    def note_greeted(self, *, is_busy: bool) -> None:
        """The client speaks HTTP/2."""
        if not self._is_greeted:
            self._is_greeted = True
            self._clear("greeting")
            if not is_busy:
                self.note_idle()

    def note_busy(self) -> None:
        """It has calls."""
        self._idle_since = None
        self._clear("idle")

    def note_idle(self) -> None:
        """It has none any more."""
        self._idle_since = self._loop.time()
        if self._is_greeted:
            self._set("idle", self._limits.idle_seconds, self._go_away)

    def note_leaving(self) -> None:
        """The client has been asked to leave."""
        self._set("leave", _LEAVE_SECONDS, self._leave)

    def note_closing(self) -> None:
        """It is closed once its client has taken what is left, which must not take for ever."""
        self._clear_all()
        self._set("closing", self._limits.stall_seconds, self._abort)
        self._is_stopped = True

    def stop(self) -> None:
        """It is closed."""
        self._clear_all()
        self._is_stopped = True

    def _judge_silence(self) -> None:
        left = self._heard_at + self._limits.ping_seconds - self._loop.time()
        if left > 0:
            self._set("silence", left, self._judge_silence)
            return
        self._has_answered = False
        self._ping()
        self._set("silence", self._limits.ping_answer_seconds, self._judge_answer)

    def _judge_answer(self) -> None:
        # Not by times: the loop's clock has milliseconds, and an answer may come within one.
        if self._has_answered:
            self._judge_silence()
        else:
            self._abort()

    def _end_of_age(self) -> None:
        if self._limits.age_grace_seconds > 0:
            self._set("age", self._limits.age_grace_seconds, self._abort)
        self._go_away()

    def _set(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        # Calls end after their connection, and must not keep it.
        if self._is_stopped:
            return
        self._clear(name)
        self._timers[name] = self._loop.call_later(seconds, self._go_off, name, act)

    def _go_off(self, name: str, act: Callable[[], None]) -> None:
        # What came while something held the loop is read first, and may take the reason away.
        self._timers[name] = self._loop.call_later(READ_FIRST_SECONDS, act)

    def _clear(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

    def _clear_all(self) -> None:
        for name in list(self._timers):
            self._clear(name)
