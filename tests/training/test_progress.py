"""The screen: what a person sees of a run on a terminal, in a pipe and in a CI log."""

import io
import os
import pty
import re
import resource
import struct
import termios
import threading
from collections.abc import Generator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import TextIO

import pytest

from training.printable import printable, printable_line
from training.progress import Progress
from training.run_log.facts import JsonValue
from training.run_log.log import read_history

HOSTILE = "up\x1b[2J\x1b]0;title\x07 and\rover \x9b31m\u202egnp.exe \u2028end"


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def step_facts(step: int, *, loss: float = 4.0) -> dict[str, JsonValue]:
    return {
        "step": step,
        "num_steps": 100,
        "loss": loss,
        "learning_rate": 0.001,
        "gradient_norm": 0.5,
        "tokens": step * 1000,
        "tokens_per_second": 48_000.0,
        "elapsed_seconds": step * 2.0,
    }


def tell_a_run(progress: Progress, *, num_steps: int = 20) -> None:
    progress.event("start", command="nextword-train --corpus a.txt", name="a", parameters=1234)
    progress.event("corpus", description="a.txt", documents=1, bytes=9000, train_tokens=4000)
    progress.event("ngram", order=5, bits_per_byte=2.01, nats_per_token=4.9)
    for step in range(1, num_steps + 1):
        progress.event("step", **step_facts(step))
    progress.event("evaluation", step=num_steps, loss=4.5, bits_per_byte=1.85, is_best=True)
    progress.event("sample", step=num_steps, prompt="Once", text=HOSTILE, temperature=0.8, top_k=50)


@contextmanager
def terminal(*, columns: int) -> Generator[tuple[TextIO, list[bytes]]]:
    """A pseudo-terminal: what is written to the stream appears in the list when the block ends."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    seen: list[bytes] = []

    def read() -> None:
        # Linux answers EIO once the other end is closed, macOS an empty read.
        try:
            while data := os.read(master, 65536):
                seen.append(data)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with os.fdopen(slave, "w", encoding="utf-8") as stream:
            yield stream, seen
    finally:
        reader.join(timeout=30)
        os.close(master)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def show_on_terminal(log: Path, *, columns: int = 100) -> str:
    with terminal(columns=columns) as (stream, seen), Progress(log, stream=stream) as progress:
        tell_a_run(progress)
        with progress.task("tokenizing", total_bytes=100) as advance:
            advance(50)
            advance(50)
    return b"".join(seen).decode("utf-8")


def test_a_terminal_gets_a_bar_that_is_redrawn_in_place_and_rows_above_it(tmp_path: Path) -> None:
    shown = show_on_terminal(tmp_path / "log.jsonl")
    words = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "\x1b[1A" in shown  # the cursor goes up to draw the bar again
    assert re.search(r"step \d+/100 .*\u2501", words)
    assert "48 k tokens/s" in words
    row = "step 20: held out 4.500 nats/token, 1.850 bits/byte (n-gram 2.010)  best so far"
    assert row in words
    assert words.index(row) < words.index("sample (step 20")
    assert "tokenizing: 100 B" in words
    assert shown.rstrip().endswith("\x1b[2K")  # the bar is taken away at the end


def test_the_cursor_is_never_left_hidden(tmp_path: Path) -> None:
    shown = show_on_terminal(tmp_path / "log.jsonl")
    hidden = [match.end() for match in re.finditer(r"\x1b\[\?25l", shown)]
    assert hidden
    assert all(shown.find("\x1b[?25h", begin) - begin < 200 for begin in hidden)


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_no_redrawn_line_is_wider_than_a_narrow_terminal(tmp_path: Path, columns: int) -> None:
    shown = show_on_terminal(tmp_path / "log.jsonl", columns=columns)
    words = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    bars = [line.strip("\r") for line in re.split(r"[\r\n]+", words) if "/100" in line]
    assert bars
    assert max(len(line.rstrip()) for line in bars) <= columns


def test_no_color_keeps_the_bar_and_drops_the_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = show_on_terminal(tmp_path / "log.jsonl")
    assert "\x1b[1A" in shown
    assert not re.search(r"\x1b\[(3[0-9]|38;|9[0-7])", shown)


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    shown = show_on_terminal(tmp_path / "log.jsonl")
    assert "\x1b" not in shown
    assert "step 20: held out" in shown


def test_what_a_model_writes_cannot_command_the_terminal(tmp_path: Path) -> None:
    shown = show_on_terminal(tmp_path / "log.jsonl")
    for command in ("\x1b[2J", "\x1b]0;", "\x07", "\x9b", "\u202e", "\u2028"):
        assert command not in shown
    assert "up\\x1b[2J\\x1b]0;title\\x07 and\\x0dover \\x9b31m\\u202egnp.exe \\u2028end" in shown


def test_a_pipe_gets_a_line_every_few_seconds_and_no_escape(tmp_path: Path) -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(
        tmp_path / "log.jsonl", stream=stream, plain_interval_seconds=5, clock=clock
    ) as progress:
        for step in range(1, 101):
            clock.seconds = step * 1.0
            progress.event("step", **step_facts(step))
    lines = stream.getvalue().splitlines()
    assert [int(match) for match in re.findall(r"step (\d+)/100", stream.getvalue())] == [
        *range(1, 97, 5),
        100,
    ]
    assert lines[1] == ("step 6/100 (6 %)  loss 4.000  48 k tokens/s  elapsed 0:12  ETA 3:08")
    assert "\x1b" not in stream.getvalue()


def test_while_the_number_of_steps_is_being_found_no_end_is_promised(tmp_path: Path) -> None:
    stream = io.StringIO()
    with Progress(tmp_path / "log.jsonl", stream=stream, plain_interval_seconds=0) as progress:
        for step in (1, 2):
            progress.event("step", **{**step_facts(step), "num_steps": 0})
    assert stream.getvalue().splitlines()[1] == ("step 2  loss 4.000  48 k tokens/s  elapsed 0:04")


def test_a_task_shows_rate_and_time_left_and_leaves_one_line(tmp_path: Path) -> None:
    clock, stream = Clock(), io.StringIO()
    with (
        Progress(tmp_path / "log.jsonl", stream=stream, clock=clock) as progress,
        progress.task("reading a.txt\x1b[0m", total_bytes=10_000_000) as advance,
    ):
        clock.seconds = 6.0
        advance(3_000_000)
        clock.seconds = 20.0
        advance(7_000_000)
    assert stream.getvalue().splitlines() == [
        "reading a.txt\\x1b[0m  3 MB of 10 MB  500 kB/s  ETA 0:14",
        "reading a.txt\\x1b[0m  10 MB of 10 MB  500 kB/s  ETA 0:00",
        "reading a.txt\\x1b[0m: 10 MB in 20 s",
    ]


def test_a_task_that_fails_says_so_and_lets_the_error_through(tmp_path: Path) -> None:
    stream = io.StringIO()
    with (
        Progress(tmp_path / "log.jsonl", stream=stream) as progress,
        pytest.raises(KeyError),
        progress.task("tokenizing"),
    ):
        raise KeyError
    assert stream.getvalue().startswith("tokenizing (not finished)")


def test_a_closed_pipe_silences_the_display_and_not_the_run(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    reading, writing = os.pipe()
    os.close(reading)
    stream = open(writing, "w", encoding="utf-8", buffering=1)  # noqa: SIM115, closed below
    with Progress(log, stream=stream) as progress:
        tell_a_run(progress)
    with pytest.raises(BrokenPipeError):
        stream.close()
    assert len(read_history(log).events) == 25


def test_a_stream_without_unicode_gets_escapes_instead_of_an_error(tmp_path: Path) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as stream:
        with Progress(tmp_path / "log.jsonl", stream=stream) as progress:
            progress.event(
                "sample", step=1, prompt="\u0416\u0438\u043b\u0438", text=" \u4f60\u597d"
            )
        assert b"| \\u0416\\u0438" in raw.getvalue()


def test_a_log_on_a_full_disk_is_announced_once_and_the_run_goes_on(tmp_path: Path) -> None:
    stream = io.StringIO()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Progress(tmp_path / "log.jsonl", stream=stream, plain_interval_seconds=0) as progress:
        # No file of this process may grow any more, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            tell_a_run(progress)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert progress.status.best is not None
    assert stream.getvalue().count("cannot write the log") == 1
    assert "step 20: held out" in stream.getvalue()


def test_a_resumed_run_knows_the_line_to_beat_and_forgets_what_came_later(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Progress(log, stream=io.StringIO()) as progress:
        tell_a_run(progress, num_steps=10)
        progress.event("evaluation", step=12, loss=4.0, bits_per_byte=1.6, is_best=True)
    with Progress(log, stream=io.StringIO()) as progress:
        progress.event("start", command="nextword-train --resume", name="a")
        progress.event("resume", step=10)
        status = progress.status
        assert status.ngram is not None
        assert status.best is not None
        assert status.best.step == 10
        progress.event("step", **step_facts(11, loss=float("nan")))
        assert status.remaining_seconds is None


def test_printable_keeps_letters_of_every_script_and_lines() -> None:
    text = "\u0416\u0438\u043b\u0438\n\u4f60 \U0001f642 \u0645\u0631 e\u0301"
    assert printable(text) == text
    assert printable_line("a\nb\tc") == "a\\nb\\tc"
    assert printable("\ud800") == "\\ud800"
