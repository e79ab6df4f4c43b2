"""Work at the lowest priority of the processor, then go on at the usual one.

A process cannot raise its own priority again without a privilege, but on Linux priority belongs to
the thread: a thread of its own does the work, and the threads it starts inherit its priority.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["run_at_low_priority"]

LOWEST_PRIORITY = 19

ResultT = TypeVar("ResultT")


def run_at_low_priority(work: Callable[[], ResultT]) -> ResultT:
    """Call a function in a thread of the lowest priority and wait for what it gives or raises.

    Elsewhere than on Linux it runs at the usual priority.
    """
    done: Future[ResultT] = Future()

    def run() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="low-priority", daemon=True).start()
    return done.result()
