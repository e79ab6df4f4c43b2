"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once."""

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "stop_on_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the user or the system has asked for the end; looked at once a step."""

    def __init__(self) -> None:
        self.is_made = False


@contextmanager
def stop_on_signals(announce: Callable[[str], None]) -> Generator[StopRequest]:
    """Catch the first SIGINT or SIGTERM as a request while the block lasts.

    A second one ends the process at once with 128 + the signal's number, as a shell reports it.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if request.is_made:
            os._exit(128 + number)
        request.is_made = True
        announce("stopping: finishes the step, saves and publishes; once more stops at once")

    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
