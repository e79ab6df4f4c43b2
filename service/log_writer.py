"""Writes lines to a file descriptor from a thread of its own, so that a blocked sink blocks nobody.

What does not fit its queue is dropped and counted.
"""

import os
import queue
import select
import threading
import time

__all__ = ["LogWriter"]

MAX_QUEUED_LINES = 4096
# A lone line is some hundred bytes; a traceback some thousand.
MAX_QUEUED_BYTES = 8 * 1024 * 1024


class LogWriter:
    """A queue of lines and the thread that empties it.

    Args:
        descriptor: Where lines go.

    Attributes:
        num_dropped: Lines that did not fit, or that the sink refused.
    """

    def __init__(self, descriptor: int) -> None:
        self.num_dropped = 0
        self._descriptor = descriptor
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._num_queued_bytes = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Queue a line; returns at once, from any thread."""
        data = (line + "\n").encode("utf-8", "backslashreplace")
        with self._lock:
            is_full = (
                self._lines.qsize() >= MAX_QUEUED_LINES
                or self._num_queued_bytes + len(data) > MAX_QUEUED_BYTES
            )
            if is_full:
                self.num_dropped += 1
                return
            self._num_queued_bytes += len(data)
        self._lines.put(data)

    def close(self, *, timeout_seconds: float) -> None:
        """Write what is queued, as far as the sink takes it within the time."""
        self._lines.put(None)
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (data := self._lines.get()) is not None:
            try:
                self._write_all(data)
            except OSError:
                # A full disk, a closed pipe: the next line may fare better.
                with self._lock:
                    self.num_dropped += 1
            finally:
                with self._lock:
                    self._num_queued_bytes -= len(data)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                # Whoever shares the descriptor has made it non-blocking.
                select.select([], [self._descriptor], [], 1.0)
                time.sleep(0)
