"""Waiting for what a server does a moment later."""

import threading
import time
from collections.abc import Callable

PATIENCE_SECONDS = 40.0


def wait_until(is_true: Callable[[], bool]) -> None:
    """Poll until something holds; fail when it does not in a long time."""
    end, pause = time.monotonic() + PATIENCE_SECONDS, 0.02
    while not is_true():
        assert time.monotonic() < end
        threading.Event().wait(pause)
        # Each look takes from the cores what is waited for: after a while they become rare.
        pause = min(1.3 * pause, 0.2)
