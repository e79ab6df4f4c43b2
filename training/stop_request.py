"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once."""

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "Terminated", "exit_on_termination", "stop_on_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LINE = b"\nstopping: finishes the step, saves and publishes; once more stops at once\n"
_SHOW_CURSOR = b"\x1b[?25h\n"


class Terminated(BaseException):
    """SIGTERM came while nothing had to be finished; unwinds like Ctrl-C's KeyboardInterrupt."""


class StopRequest:
    """Whether the user or the system has asked for the end; looked at once a step."""

    def __init__(self) -> None:
        self.is_made = False


@contextmanager
def exit_on_termination() -> Generator[None]:
    """Make SIGTERM unwind the stack with ``Terminated`` while the block lasts.

    The processes beside the first have nothing to undo, and wait where no handler of ours would
    run: there both signals end the process at once.
    """
    if os.environ.get("RANK", "0") != "0":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Terminated

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def stop_on_signals(*, is_first: bool) -> Generator[StopRequest]:
    """Catch the first SIGINT or SIGTERM as a request while the block lasts.

    A second one ends the process at once with 128 + the signal's number, as a shell reports it.

    Args:
        is_first: Whether this process is the one that tells the user.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        # Written directly: the signal may have come in the middle of a buffered print.
        if request.is_made:
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)
            os._exit(128 + number)
        request.is_made = True
        if is_first:
            os.write(2, _LINE)

    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
