"""Waiting for what a server does a moment later."""

import threading
import time
from collections.abc import Callable

PATIENCE_SECONDS = 40.0


def wait_until(is_true: Callable[[], bool]) -> None:
    """Poll until something holds; fail when it does not in a long time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < end
        threading.Event().wait(0.02)
