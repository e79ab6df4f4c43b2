"""The threads that compute in the kernels: one pool for all of a process, started once.

Torch-free. Threads inherit the priority of the one that starts them, and cannot raise it later, so
a process that loads at low priority starts them before.
"""

import ctypes
from functools import cache

from service.engine.cpu.kernel_library import KernelError, LibraryError, load_library, new_handle

__all__ = ["thread_pool"]

# The kernels' own limit.
MAX_THREADS = 1024


@cache
def thread_pool(num_threads: int) -> ctypes.c_void_p:
    """The pool of this process with so many threads, the caller's included.

    It is never given back: waiting threads take no time. One call at a time may use it.

    Raises:
        LibraryError: There are no compiled kernels, or the system gives fewer threads.
    """
    library = load_library()
    try:
        return new_handle(library, "nextword_pool_create", num_threads)
    except KernelError as error:
        raise LibraryError(
            f"from 1 to {MAX_THREADS} threads (--threads), got {num_threads}"
        ) from error
    except MemoryError as error:
        raise LibraryError(
            f"{num_threads} threads (--threads), more than this system gives"
        ) from error
