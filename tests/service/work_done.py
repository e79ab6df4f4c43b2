"""How much work a call is, by what does not depend on the machine: lines of Python that it ran."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import TraceFunction

__all__ = ["num_lines"]


def num_lines(work: Callable[[], object]) -> int:
    """Lines of our own code that a call goes through, each time that it does."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> "TraceFunction | None":
        nonlocal count
        if "/service/engine/" not in frame.f_code.co_filename:
            return None
        # A comprehension's line comes again with each of its turns.
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
