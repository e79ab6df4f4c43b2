"""Asking again: which errors pass, how long to wait first, and when it is too late.

A server that says when it would be asked again is obeyed; otherwise the pauses double. All attempts
of a call share its one timeout, and each is told what is left of it. A stream is asked for again
only while nothing of it has come, and nothing that costs the server much where it may still be at
work on it.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, closing
from typing import TypeVar

from nextword.errors import ConnectionFailedError, NextwordError, StatusError

__all__ = [
    "Attempts",
    "send_patiently",
    "send_patiently_async",
    "stream_patiently",
    "stream_patiently_async",
]

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 8.0
# Told to wait longer than this, a program should hear about it instead.
MAX_HINT_SECONDS = 120.0

AnswerT = TypeVar("AnswerT")


class Attempts:
    """The attempts of one call.

    Args:
        max_retries: Attempts after the first one.
        seconds: The call's timeout.
        is_costly: Whether the call makes the server compute: it is not sent again over a new
            connection when the last one broke under it.
    """

    def __init__(self, *, max_retries: int, seconds: float, is_costly: bool = False) -> None:
        self._num_left = max_retries
        self._is_costly = is_costly
        self._seconds = seconds
        self._ends_at: float | None = None
        self._backoff = FIRST_PAUSE_SECONDS
        self._pause = 0.0

    def seconds(self) -> float:
        """What the next attempt has left; the whole timeout for the first one."""
        if self._ends_at is None:
            self._ends_at = time.monotonic() + self._seconds
            return self._seconds
        return max(self._ends_at - time.monotonic(), 0.001)

    def may_follow(self, error: NextwordError) -> bool:
        """Whether another attempt is worth it; then `pause_seconds` says how long to wait."""
        match error:
            case ConnectionFailedError(was_sent=True) if self._is_costly:
                return False
            case StatusError(is_retryable=True, retry_after_seconds=float() as hint):
                pause, can_pass = hint, hint <= MAX_HINT_SECONDS
            case StatusError(is_retryable=True) | ConnectionFailedError():
                # Many clients that were turned away together should not come back together.
                pause, can_pass = self._backoff * random.uniform(0.75, 1.0), True
                self._backoff = min(2 * self._backoff, MAX_PAUSE_SECONDS)
            case _:
                return False
        if not can_pass or self._num_left == 0 or pause >= self.seconds():
            return False
        self._num_left -= 1
        self._pause = pause
        return True

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next attempt."""
        return self._pause


def send_patiently(attempts: Attempts, send: Callable[[float], AnswerT]) -> AnswerT:
    """The answer of the first attempt that brings one; `send` is told the seconds it has."""
    while True:
        try:
            return send(attempts.seconds())
        except NextwordError as error:
            if not attempts.may_follow(error):
                raise
        time.sleep(attempts.pause_seconds)


def stream_patiently(
    attempts: Attempts, stream: Callable[[float], Generator[AnswerT, None, None]]
) -> Generator[AnswerT, None, None]:
    """The stream of the first attempt that brings a piece."""
    while True:
        with closing(stream(attempts.seconds())) as pieces:
            try:
                first = next(pieces, None)
            except NextwordError as error:
                if not attempts.may_follow(error):
                    raise
            else:
                if first is not None:
                    yield first
                yield from pieces
                return
        time.sleep(attempts.pause_seconds)


async def send_patiently_async(
    attempts: Attempts, send: Callable[[float], Awaitable[AnswerT]]
) -> AnswerT:
    """The same for programs of asyncio."""
    while True:
        try:
            return await send(attempts.seconds())
        except NextwordError as error:
            if not attempts.may_follow(error):
                raise
        await asyncio.sleep(attempts.pause_seconds)


async def stream_patiently_async(
    attempts: Attempts, stream: Callable[[float], AsyncGenerator[AnswerT, None]]
) -> AsyncGenerator[AnswerT, None]:
    """The same for programs of asyncio."""
    while True:
        async with aclosing(stream(attempts.seconds())) as pieces:
            try:
                first = await anext(pieces, None)
            except NextwordError as error:
                if not attempts.may_follow(error):
                    raise
            else:
                if first is not None:
                    yield first
                async for piece in pieces:
                    yield piece
                return
        await asyncio.sleep(attempts.pause_seconds)
