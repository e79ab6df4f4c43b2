"""The threads that compute in the kernels: one pool for all of a process, started once.

Torch-free. Threads inherit the priority of the one that starts them, and cannot raise it later, so
a process that loads at low priority starts them before.
"""

import ctypes
from functools import cache

from service.engine.cpu.library import load_library, new_handle

__all__ = ["thread_pool"]


@cache
def thread_pool(num_threads: int) -> ctypes.c_void_p:
    """The pool of this process with so many threads, the caller's included.

    It is never given back: waiting threads take no time. One call at a time may use it.

    Raises:
        LibraryError: There are no compiled kernels.
    """
    return new_handle(load_library(), "nextword_pool_create", num_threads)
