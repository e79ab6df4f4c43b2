"""Tells the C library to keep freed memory for the next step instead of giving it back.

A training step frees and takes the same megabytes again and again. Given back to the system, every
page of them must be filled with zeros at each step, which took a tenth of the time of a small step.
"""

import ctypes

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# The most that glibc accepts: larger tensors stay mappings of their own.
_MAX_MMAP_THRESHOLD_BYTES = 32 * 1024 * 1024
_TRIM_THRESHOLD_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Set glibc's thresholds for the rest of the process; False where there is no glibc."""
    library = ctypes.CDLL(None)
    # mallopt itself exists elsewhere too, with other meanings.
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = {
        _M_MMAP_THRESHOLD: _MAX_MMAP_THRESHOLD_BYTES,
        _M_TRIM_THRESHOLD: _TRIM_THRESHOLD_BYTES,
    }
    return all(library.mallopt(name, value) == 1 for name, value in settings.items())
