"""A way past a reader's task.

A token that wakes a task by itself costs more on its way through it than all else that is done for
the token. What comes is put where the task would put it, while that takes something at once.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Outlet"]

ValueT = TypeVar("ValueT")


class Outlet(Generic[ValueT]):
    """Takes values while nobody has to wait for it. Of functions: it is asked for each token.

    Args:
        is_open: Says whether it takes a value now; else it is the task's, which can wait.
        put: Takes a value, which must not be the last; only while it is open.
    """

    __slots__ = ("is_open", "put")

    def __init__(self, is_open: Callable[[], bool], put: Callable[[ValueT], None]) -> None:
        self.is_open = is_open
        self.put = put
