"""What the trainer talks to while it works: every event goes to the log, the screen and the
metrics port.

The log is the record; the screen and the port are views of it. Knows nothing of tensors or of the
report.
"""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from training.printable import printable_line
from training.progress.display import Task, open_display
from training.progress.metrics_port import MetricsPort
from training.progress.status import RunStatus
from training.progress.status_lines import describe_event
from training.run_log.events import End
from training.run_log.facts import JsonValue
from training.run_log.log import EventLog, EventLogError, read_history
from training.run_log.parser import parse_event


class Progress:
    """Records a run and shows it. Use it as a context manager, so that the terminal is left in
    order."""

    def __init__(
        self,
        log_path: Path,
        *,
        metrics_port: int | None = None,
        metrics_host: str = "127.0.0.1",
        stream: TextIO | None = None,
        plain_interval_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the log (appending to what is there), the display and, when asked for, the metrics
        port.

        Args:
            log_path: run/log.jsonl.
            metrics_port: port for Prometheus; 0 takes any free one, None opens none.
            metrics_host: address that it listens on.
            stream: where to show progress; standard error by default.
            plain_interval_seconds: pause between progress lines where the stream is not a terminal.
            clock: monotonic seconds, for the displays.

        Raises:
            EventLogError: the log cannot be opened, or holds lines that are not ours.
            MetricsPortError: the port cannot be opened.
        """
        self.status = RunStatus()
        self._clock = clock
        if log_path.exists():
            # A resumed run shows the n-gram's line and the best figures from its first moment.
            for timed in read_history(log_path).events:
                self.status.apply(timed.event)
        self._log = EventLog(log_path)
        try:
            self._port = (
                None
                if metrics_port is None
                else MetricsPort(self.status, port=metrics_port, host=metrics_host)
            )
        except BaseException:
            self._log.close()
            raise
        self._is_log_failing = False
        self._display = open_display(
            sys.stderr if stream is None else stream,
            self.status,
            plain_interval_seconds=plain_interval_seconds,
            clock=clock,
        )

    @property
    def metrics_port(self) -> int | None:
        """The port that answers Prometheus, None where none was asked for."""
        return None if self._port is None else self._port.port

    def event(self, kind: str, /, **facts: JsonValue) -> None:
        """Logs one event (the kinds and facts are declared in training/run_log/events.py) and
        shows it.

        A log that cannot be written is announced once and the run goes on: when writing works
        again, the log says how many events are missing.

        Raises:
            EventError: the facts do not fit the kind.
        """
        try:
            self._log.append(kind, facts)
            self._is_log_failing = False
        except EventLogError as error:
            if not self._is_log_failing:
                self.announce(f"{error}; events are not recorded until it can be written again")
            self._is_log_failing = True
        event = parse_event(kind, facts)
        self.status.apply(event)
        text = describe_event(event, self.status)
        if text is not None:
            self._display.print(text)
        if isinstance(event, End):
            self._display.close()
        else:
            self._display.update()

    def announce(self, text: str) -> None:
        """Prints a line for the user above the bar, without logging it."""
        self._display.print(text)

    @contextmanager
    def task(
        self, description: str, *, total_bytes: int | None = None
    ) -> Generator[Callable[[int], None]]:
        """Shows a long preparation: the function it gives takes the number of bytes done since its
        last call.

        Example:
            with progress.task("tokenizing", total_bytes=size) as advance:
                for document in documents:
                    advance(document.num_bytes)
        """
        task = Task(printable_line(description), total_bytes, begin_seconds=self._clock())

        def advance(num_bytes: int) -> None:
            task.done_bytes += num_bytes
            self._display.update()

        self._display.begin(task)
        try:
            yield advance
            task.is_finished = True
        finally:
            self._display.end(task)

    def close(self) -> None:
        """Takes the bar off the screen and closes the log and the port; a second call does
        nothing."""
        self._display.close()
        self._log.close()
        if self._port is not None:
            self._port.close()
            self._port = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
