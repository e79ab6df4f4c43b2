"""The run's log: one JSON object a line, only ever appended to, readable after any crash.

A line is one write to a file opened for appending, so a killed process leaves at most one torn
line at the end; the next session starts on a fresh line and readers skip the torn one. A resumed
run appends a `resume` event: the reader drops what was logged beyond the resumed step instead of
anybody rewriting the file.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from training.run_log.events import (
    End,
    Evaluation,
    Event,
    LogGap,
    Resume,
    Sample,
    Start,
    Step,
    Surprise,
)
from training.run_log.facts import EventError, JsonValue, to_json_value
from training.run_log.parser import parse_event

_DURABLE_KINDS = frozenset({"start", "resume", "ngram", "evaluation", "end"})


class EventLogError(Exception):
    """The log cannot be opened, written or read; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event and the moment it was logged (ISO 8601 with offset)."""

    time: str
    event: Event


@dataclass(frozen=True, slots=True)
class EventHistory:
    """What a log says once crashes and resumes are accounted for.

    Attributes:
        events: the events that count, in order.
        num_superseded_steps: steps dropped because a later session did them again.
        num_unreadable_lines: torn or foreign lines that were skipped.
    """

    events: tuple[TimedEvent, ...]
    num_superseded_steps: int
    num_unreadable_lines: int


class EventLog:
    """The writing end. One process writes; any number may read meanwhile."""

    def __init__(self, path: Path) -> None:
        """Opens `path` for appending and creates it where it is absent.

        Raises:
            EventLogError: the file cannot be opened.
        """
        self.path = path
        self._num_missing = 0
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise EventLogError(f"{path}: cannot open the log: {error.strerror}") from error
        self._is_line_torn = self._ends_inside_a_line()

    def append(self, kind: str, facts: Mapping[str, JsonValue]) -> Event:
        """Appends one event and returns it parsed; evaluations and the like are on the disk
        afterwards.

        Raises:
            EventError: the facts do not fit the kind (a programming mistake: nothing is written).
            EventLogError: the file could not be written (the event is lost; a later append says
                how many were).
        """
        event = parse_event(kind, facts)
        try:
            if self._num_missing:
                self._write_line("log_gap", {"events": self._num_missing})
                self._num_missing = 0
            self._write_line(kind, facts)
            if kind in _DURABLE_KINDS:
                os.fsync(self._descriptor)
        except OSError as error:
            self._num_missing += 1
            raise EventLogError(f"{self.path}: cannot write the log: {error.strerror}") from error
        return event

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write_line(self, kind: str, facts: Mapping[str, JsonValue]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(
            to_json_value({"event": kind, "time": now, **facts}), allow_nan=False
        ).encode("ascii")
        data = b"\n" + line + b"\n" if self._is_line_torn else line + b"\n"
        # Whatever happens during the write, the next line must not be glued to a half one.
        self._is_line_torn = True
        written = os.write(self._descriptor, data)
        if written < len(data):
            raise OSError(28, f"only {written} of {len(data)} bytes fit")
        self._is_line_torn = False

    def _ends_inside_a_line(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"


def read_history(path: Path) -> EventHistory:
    """Reads a log, also one that is being written or whose writer was killed.

    Raises:
        EventLogError: the file cannot be read, or a whole line of it is not an event of ours.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EventLogError(f"{path}: cannot read the log: {error.strerror}") from error
    events: list[TimedEvent] = []
    num_unreadable = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        fields = _parse_line(line)
        if fields is None:
            num_unreadable += 1
            continue
        try:
            events.append(_typed(fields))
        except EventError as error:
            raise EventLogError(f"{path}: line {number}: {error}") from error
    kept = tuple(_without_superseded(events))
    return EventHistory(
        events=kept,
        num_superseded_steps=_count_steps(events) - _count_steps(kept),
        num_unreadable_lines=num_unreadable,
    )


def _count_steps(events: Iterable[TimedEvent]) -> int:
    return sum(isinstance(timed.event, Step) for timed in events)


def _parse_line(line: bytes) -> dict[str, JsonValue] | None:
    try:
        fields: object = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _typed(fields: dict[str, JsonValue]) -> TimedEvent:
    kind, time = fields.get("event"), fields.get("time")
    if not isinstance(kind, str) or not isinstance(time, str):
        raise EventError("a line needs the texts 'event' and 'time'")
    return TimedEvent(time=time, event=parse_event(kind, fields))


def _without_superseded(events: list[TimedEvent]) -> Iterator[TimedEvent]:
    """Drops what later sessions did again.

    A session resumes where its `resume` event says, or from nothing when its first step comes
    without one.
    """
    kept: list[TimedEvent] = []
    is_origin_known = True
    for timed in events:
        match timed.event:
            case Start():
                is_origin_known = False
            case Resume(step=step):
                kept = [earlier for earlier in kept if _counts_at(earlier.event, step)]
                is_origin_known = True
            case Step() | Evaluation() | Sample() | Surprise() if not is_origin_known:
                kept = [earlier for earlier in kept if _counts_at(earlier.event, None)]
                is_origin_known = True
            case _:
                pass
        kept.append(timed)
    yield from kept


def _counts_at(event: Event, resumed_step: int | None) -> bool:
    match event:
        case Step(step=step) | Evaluation(step=step) | Sample(step=step) | Surprise(step=step):
            return resumed_step is not None and step <= resumed_step
        case Resume(step=step):
            return resumed_step is not None and step <= resumed_step
        case End() | LogGap():
            return False
        case _:
            return True
