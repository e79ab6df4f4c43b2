"""This process with its file descriptors really used up."""

import os
import resource
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def few_descriptors(num_spare: int) -> Generator[None, None, None]:
    """Let this process open so many more files and no more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 16, before[1]))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        for _ in range(num_spare):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
