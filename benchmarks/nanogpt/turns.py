"""Tokens/s of two training processes that take turns on the same machine.

Both stay alive, and while one computes the other is stopped, for a few seconds each: a machine
whose speed changes from minute to minute then changes for both. What a process logs first after a
stop contains the stop and does not count.
"""

import contextlib
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Trainer", "take_turns"]

_TURN_SECONDS = 4.0
_START_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """A training that logs its rate as it goes.

    Attributes:
        command: Starts it.
        folder: Where it is started.
        environment: Of the process.
        log: File that it writes rates to; its output goes there where ``writes_output``.
        writes_output: Whether the log is what it prints.
        rates: Tokens/s of each entry in a piece of the log, in order.
    """

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    log: Path
    writes_output: bool
    rates: Callable[[str], list[float]]


def take_turns(trainers: Mapping[str, Trainer], *, num_turns: int) -> dict[str, list[float]]:
    """Median tokens/s of each turn, by name; turn i of one ran beside turn i of the others."""
    found: dict[str, list[float]] = {name: [] for name in trainers}
    with contextlib.ExitStack() as stack:
        # The start, with all that is compiled or evaluated there, is no part of a turn.
        processes = {
            name: stack.enter_context(_started(trainer)) for name, trainer in trainers.items()
        }
        for _ in range(num_turns):
            for name, trainer in trainers.items():
                begin = trainer.log.stat().st_size
                os.kill(processes[name], signal.SIGCONT)
                time.sleep(_TURN_SECONDS)
                os.kill(processes[name], signal.SIGSTOP)
                with trainer.log.open("rb") as file:
                    file.seek(begin)
                    rates = trainer.rates(file.read().decode(errors="replace"))
                if len(rates) < 4:
                    raise SystemExit(
                        f"{name} logged {len(rates)} rates in a turn, too few to compare"
                    )
                found[name].append(statistics.median(rates[1:]))
    return found


@contextlib.contextmanager
def _started(trainer: Trainer) -> Generator[int]:
    """The process's number, stopped after its first rates; it is killed in the end."""
    with contextlib.ExitStack() as stack:
        output: int | object = subprocess.DEVNULL
        if trainer.writes_output:
            output = stack.enter_context(trainer.log.open("wb"))
        process = subprocess.Popen(
            trainer.command,
            cwd=trainer.folder,
            env=dict(trainer.environment),
            stdout=output,  # pyright: ignore[reportArgumentType]
        )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not trainer.log.is_file() or len(trainer.rates(trainer.log.read_text())) < 3:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{trainer.command[1:4]} did not start to train")
                time.sleep(0.2)
            os.kill(process.pid, signal.SIGSTOP)
            yield process.pid
        finally:
            process.kill()
            process.wait()
