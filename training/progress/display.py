"""Where a run shows itself: what `Progress` asks of a display, and which display a stream gets.

A display that cannot be written any more (closed pipe, lost terminal) falls silent: it never stops
a training run.
"""

import time
from collections.abc import Callable
from typing import Protocol, TextIO

from rich.console import Console

from training.progress.live_display import LiveDisplay
from training.progress.plain_display import PlainDisplay
from training.progress.status import RunStatus
from training.progress.task import Task


class Display(Protocol):
    """What `Progress` needs of a display. None of these raise because of the stream."""

    def print(self, text: str) -> None:
        """Prints lines that stay; control characters become visible escapes."""
        ...

    def update(self) -> None:
        """The status or a task has changed."""
        ...

    def begin(self, task: Task) -> None: ...

    def end(self, task: Task) -> None: ...

    def close(self) -> None: ...


def open_display(
    stream: TextIO,
    status: RunStatus,
    *,
    plain_interval_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Display:
    """Returns a live bar where `stream` is a capable terminal, else plain lines."""
    if stream.isatty():
        console = Console(
            file=stream, force_terminal=True, markup=False, emoji=False, highlight=False
        )
        if not console.is_dumb_terminal:
            return LiveDisplay(console, status, clock=clock)
    return PlainDisplay(stream, status, interval_seconds=plain_interval_seconds, clock=clock)
