"""One child process that runs chat templates, and one exchange with it, bounded in time and size.

It trusts the child with nothing: what runs there is somebody's program, and may have taken it over.
"""

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["ProcessEndedError", "ProcessSilentError", "TemplateProcess", "UnusableAnswerError"]

_SCRIPT = Path(__file__).with_name("render_process.py")
_LENGTH = struct.Struct("<I")
_CHUNK_BYTES = 1 << 18


class ProcessEndedError(Exception):
    """The process ended instead of answering.

    Attributes:
        has_run_out: Whether it was for the processor time that it had.
    """

    def __init__(self, *, has_run_out: bool) -> None:
        super().__init__()
        self.has_run_out = has_run_out


class ProcessSilentError(Exception):
    """The process did not answer in time: stopped, or short of processor time."""


class UnusableAnswerError(Exception):
    """The answer is longer than any may be."""


class TemplateProcess:
    """A process of its own; whatever is raised here, `kill` is what is left to do with it.

    Raises:
        OSError: The system starts none.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # It needs nothing of ours, and a Ctrl-C in the terminal is for the front.
            env={},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)

    @property
    def process_id(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def exchange(self, request: bytes, *, patience_seconds: float, max_bytes: int) -> bytes:
        """The answer to a request.

        Args:
            request: What it is asked.
            patience_seconds: How long it may take, waiting included.
            max_bytes: The longest answer.

        Raises:
            ProcessEndedError: It ended before its answer was whole.
            ProcessSilentError: It took longer.
            UnusableAnswerError: The answer would be longer.
        """
        unsent = memoryview(_LENGTH.pack(len(request)) + request)
        received = bytearray()
        deadline = time.monotonic() + patience_seconds
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN)
        poller.register(self._stdin, select.POLLOUT)
        while True:
            left = deadline - time.monotonic()
            ready = dict(poller.poll(left * 1000)) if left > 0 else {}
            if not ready:
                raise ProcessSilentError
            if self._stdin.fileno() in ready:
                try:
                    unsent = unsent[os.write(self._stdin.fileno(), unsent[:_CHUNK_BYTES]) :]
                except BrokenPipeError:
                    raise self._ended() from None
                if not unsent:
                    poller.unregister(self._stdin)
            if self._stdout.fileno() in ready:
                if not (piece := os.read(self._stdout.fileno(), _CHUNK_BYTES)):
                    raise self._ended()
                received += piece
                if len(received) < _LENGTH.size:
                    continue
                (length,) = _LENGTH.unpack(received[: _LENGTH.size])
                if length > max_bytes:
                    raise UnusableAnswerError
                if len(received) >= _LENGTH.size + length:
                    return bytes(received[_LENGTH.size : _LENGTH.size + length])

    def kill(self) -> None:
        """End it wherever it is."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End it where it waits for a request: its end of input is its end."""
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()

    def _ended(self) -> ProcessEndedError:
        # Its pipes are closed, by its end or by what took it over.
        self._process.kill()
        status = self._process.wait()
        return ProcessEndedError(has_run_out=status == -signal.SIGPROF)
