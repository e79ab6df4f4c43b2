"""Runs programs in processes of their own, each a fork of one that has the trainer loaded.

A fresh interpreter would spend most of its time on imports. Run as `python -m`, this is that one:
each line of its input asks for a program, each line of its output is the status with which one
ended, as `subprocess` has it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from training.command_line import main
from training.job import run_job

REPOSITORY = Path(__file__).resolve().parents[2]
# What `nextword-train` loads, at the start and once its options are read.
LOADED = (main, run_job)


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        status: Its exit status, or minus the signal that ended it.
    """

    status: int
    output: str
    error: str


class Nursery:
    """Where programs are run, one at a time."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._process = process
        self._output, self._error = folder / "output", folder / "error"

    def run(self, program: str, arguments: Sequence[str]) -> Ended:
        """Run a program, Python text whose `sys.argv` has the arguments behind a name."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = _Order(program, list(arguments), str(self._output), str(self._error))
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return Ended(status, self._output.read_text("utf-8"), self._error.read_text("utf-8"))


@contextmanager
def open_nursery(folder: Path) -> Generator[Nursery]:
    """A nursery for the block; what hangs in it ends with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.training.nursery"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    with process:
        try:
            yield Nursery(process, folder)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


class _Order(msgspec.Struct):
    program: str
    arguments: list[str]
    output: str
    error: str


def _next_order() -> _Order | None:
    """The order that this process is forked for; None in the process that forks, at the end."""
    for line in sys.stdin.buffer:
        # No thread runs yet that a fork could break.
        child = os.fork()
        if child == 0:
            return msgspec.json.decode(line, type=_Order)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def _become(order: _Order) -> None:
    for number, path in enumerate((os.devnull, order.output, order.error)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = ["-c", *order.arguments]
    exec(compile(order.program, "<program>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__" and (order := _next_order()) is not None:
    _become(order)
