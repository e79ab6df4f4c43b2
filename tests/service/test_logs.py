"""What a log record looks like, and that no sink can hold the service up."""

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Generator

import pytest

from service import logs
from service.log_writer import MAX_QUEUED_LINES, LogWriter
from service.logs import configure_logs, log_fields, num_dropped_records

PATIENCE_SECONDS = 30.0


@contextlib.contextmanager
def standard_error() -> Generator[int, None, None]:
    """The reading end of a pipe that takes the place of standard error.

    Not a fixture: pytest puts its own in place again between a test and its fixtures.
    """
    reading, writing = os.pipe()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    with os.fdopen(writing, "w") as stream, contextlib.redirect_stderr(stream):
        yield reading
        root.handlers[:] = handlers
        root.setLevel(level)
    os.close(reading)


def lines_of(descriptor: int, num_lines: int) -> list[str]:
    received = b""
    while received.count(b"\n") < num_lines:
        received += os.read(descriptor, 1 << 16)
    return received.decode("ascii").splitlines()


def raise_with(text: str) -> None:
    raise KeyError(text)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_value_can_neither_end_its_record_nor_start_another(form: logs.LogForm) -> None:
    """H115."""
    with standard_error() as reading:
        configure_logs(form=form)
        evil = "a\r\nb\x1b[31m\u2028\u2029\x00\x85"
        log_fields(logging.getLogger("x"), "event" + evil, model=evil)
        log_fields(logging.getLogger("x"), "last")
        first, last = lines_of(reading, 2)
        assert "last" in last
        assert first.isprintable()
        if form == "json":
            assert json.loads(first)["model"] == evil


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_is_logged_by_type_and_place_without_its_words(form: logs.LogForm) -> None:
    """H114: an exception's text may quote a prompt."""
    with standard_error() as reading:
        configure_logs(form=form)
        logger = logging.getLogger("x")
        try:
            try:
                raise_with("canary")
            except KeyError as error:
                raise ValueError("canary") from error
        except ValueError:
            logger.exception("failed")
        log_fields(logger, "last")
        text = "\n".join(lines_of(reading, 2))
        while "last" not in text:
            text += "\n".join(lines_of(reading, 1))
        assert "canary" not in text
        assert "KeyError" in text
        assert "ValueError" in text
        assert "raise_with" in text


def test_the_level_and_the_source_are_as_configured() -> None:
    with standard_error() as reading:
        configure_logs(level="warning", form="json", source="engine")
        logger = logging.getLogger("x")
        log_fields(logger, "quiet")
        log_fields(logger, "loud", level=logging.WARNING, seconds=1.5)
        (line,) = lines_of(reading, 1)
        record = json.loads(line)
        assert (record["event"], record["source"], record["level"]) == ("loud", "engine", "warning")
        assert record["seconds"] == 1.5


def test_a_blocked_sink_blocks_nobody_and_what_is_dropped_is_counted() -> None:
    """H118: nobody reads the pipe; far more is logged than it and the queue hold."""
    with standard_error() as reading:
        configure_logs(form="json")
        before = num_dropped_records()
        logger = logging.getLogger("x")
        num_lines = MAX_QUEUED_LINES + 3000
        logging_thread = threading.Thread(
            target=lambda: [log_fields(logger, "event", text="x" * 200) for _ in range(num_lines)]
        )
        logging_thread.start()
        logging_thread.join(PATIENCE_SECONDS)
        assert not logging_thread.is_alive()
        num_dropped = num_dropped_records() - before
        assert 0 < num_dropped < num_lines
        # Once somebody reads again, everything that was not dropped comes.
        assert len(lines_of(reading, num_lines - num_dropped)) == num_lines - num_dropped


def test_a_sink_that_refuses_is_no_fault_of_the_request() -> None:
    """H118: a closed pipe, or a full disk."""
    reading, writing = os.pipe()
    os.close(reading)
    writer = LogWriter(writing)
    writer.write("lost")
    writer.close(timeout_seconds=PATIENCE_SECONDS)
    assert writer.num_dropped == 1
    os.close(writing)


def test_a_sink_that_does_not_block_is_waited_for() -> None:
    """A descriptor that another process has made non-blocking loses no line."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = LogWriter(writing)
    for number in range(2000):
        writer.write(f"{number:0100}")
    received = b""
    end = time.monotonic() + PATIENCE_SECONDS
    while received.count(b"\n") < 2000 and time.monotonic() < end:
        received += os.read(reading, 1 << 16)
    assert [int(line) for line in received.split()] == list(range(2000))
    assert writer.num_dropped == 0
    writer.close(timeout_seconds=PATIENCE_SECONDS)
    os.close(reading)
    os.close(writing)
