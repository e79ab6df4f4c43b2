"""Progress as whole lines: for pipes, CI logs and terminals that cannot move their cursor."""

import time
from collections.abc import Callable
from typing import TextIO

from training.printable import printable
from training.progress.status import RunStatus
from training.progress.status_lines import plain_step
from training.progress.task import Task


class PlainDisplay:
    """Whole lines only, at most one progress line every `interval_seconds`."""

    def __init__(
        self,
        stream: TextIO,
        status: RunStatus,
        *,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._status = status
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._next_line_seconds = clock()
        self._printed_step = -1
        self._tasks: list[Task] = []
        self._is_silent = False

    def print(self, text: str) -> None:
        if self._is_silent:
            return
        try:
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(printable(text, encoding=encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream was closed
            self._is_silent = True

    def update(self) -> None:
        now = self._clock()
        is_last = self._status.step is not None and (
            self._status.step.step == self._status.step.num_steps
        )
        if now < self._next_line_seconds and not (is_last and not self._tasks):
            return
        if self._tasks:
            task = self._tasks[-1]
            self.print("  ".join([task.description, *task.figures(now)]))
        elif self._status.step is not None and self._status.step.step != self._printed_step:
            self._printed_step = self._status.step.step
            self.print(plain_step(self._status.step, self._status))
        else:
            return
        self._next_line_seconds = now + self._interval_seconds

    def begin(self, task: Task) -> None:
        self._tasks.append(task)
        # Short tasks need no line of their own beside their summary.
        self._next_line_seconds = self._clock() + self._interval_seconds

    def end(self, task: Task) -> None:
        self._tasks.remove(task)
        self.print(task.summary(self._clock()))
        self._next_line_seconds = self._clock()

    def close(self) -> None:
        pass
