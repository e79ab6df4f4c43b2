"""Heavy work on texts and answers beside the event loop, a few jobs at a time.

Each kind of work has threads of its own: the loop's own ones also render metrics and wait for
engines, and many of them at work together would hold as many large results in memory at once.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ANSWERS", "MAX_JOBS", "TEXTS", "BoundedThreads"]

# All of them share one interpreter; the second keeps a short job from waiting for a long one.
MAX_JOBS = 2

ResultT = TypeVar("ResultT")


class BoundedThreads:
    """Runs jobs in the order in which they came, at most so many at a time.

    Args:
        name: What its threads are called.
        max_jobs: Jobs at a time.
    """

    def __init__(self, name: str, *, max_jobs: int = MAX_JOBS) -> None:
        self._threads = ThreadPoolExecutor(max_jobs, thread_name_prefix=name)

    async def run(self, job: Callable[[], ResultT]) -> ResultT:
        """What a job gives or raises. One whose caller is cancelled before its turn never runs."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)


TEXTS = BoundedThreads("texts")
ANSWERS = BoundedThreads("answers")
