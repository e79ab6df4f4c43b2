"""Progress as a bar at the bottom of a terminal, drawn by rich; everything else is printed above
it."""

import os
import time
from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from training.printable import printable
from training.progress.status import RunStatus
from training.progress.status_lines import progress_parts, step_label
from training.progress.task import Task
from training.quantities import format_clock


class LiveDisplay:
    """A bar that stays at the bottom of a terminal; everything else is printed above it."""

    def __init__(
        self,
        console: Console,
        status: RunStatus,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._bar = _Bar(status, clock=clock)
        self._live: Live | None = None
        self._is_silent = False

    def print(self, text: str) -> None:
        safe = Text(printable(text, encoding=self._console.encoding))
        self._guarded(lambda: self._console.print(safe, soft_wrap=True))

    def update(self) -> None:
        if self._live is None and not self._is_silent:
            self._guarded(self._start)

    def begin(self, task: Task) -> None:
        self._bar.tasks.append(task)
        self.update()

    def end(self, task: Task) -> None:
        self._bar.tasks.remove(task)
        self.print(task.summary(self._clock()))

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            self._guarded(live.stop)

    def _start(self) -> None:
        live = Live(
            self._bar,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            # Prints to stdout belong above the bar only where both are the same terminal.
            redirect_stdout=False,
        )
        live.start()
        self._live = live
        # A hidden cursor would stay hidden after kill -9.
        self._console.show_cursor(True)

    def _guarded(self, write: Callable[[], object]) -> None:
        if self._is_silent:
            return
        try:
            write()
        except (OSError, ValueError):
            self._is_silent = True


class _Bar:
    """Draws the open tasks, else the training progress, in as many columns as there are."""

    def __init__(self, status: RunStatus, *, clock: Callable[[], float]) -> None:
        self._status = status
        self._clock = clock
        self._begin_seconds = clock()
        self.tasks: list[Task] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _columns(console))
        if self.tasks:
            for task in list(self.tasks):
                yield from self._task_rows(task, width)
        elif self._status.step is not None:
            yield from self._training_rows(width)

    def _task_rows(self, task: Task, width: int) -> RenderResult:
        figures = task.figures(self._clock())
        yield _row(task.description, figures, task.total_bytes, task.done_bytes, width)

    def _training_rows(self, width: int) -> RenderResult:
        step = self._status.step
        assert step is not None
        times = [format_clock(step.elapsed_seconds)]
        if self._status.remaining_seconds is not None:
            times.append(f"ETA {format_clock(self._status.remaining_seconds)}")
        yield _row(step_label(step), times, step.num_steps or None, step.step, width)
        line = _fit(progress_parts(self._status), width)
        if line:
            yield Text(line, style="cyan", no_wrap=True, overflow="crop")


def _columns(console: Console) -> int:
    """Width of the terminal that is written to; rich asks the process's standard streams only."""
    try:
        return os.get_terminal_size(console.file.fileno()).columns or console.width
    except OSError:
        return console.width


def _row(label: str, figures: list[str], total: int | None, done: int, width: int) -> Table | Text:
    """Label, bar and figures on one line; the bar goes first where there is no room, then the last
    figures."""
    tail = _fit(figures, max(0, width - len(label) - 2))
    bar_width = min(40, width - len(label) - len(tail) - 4)
    if bar_width < 8:
        line = f"{label}  {tail}".rstrip()
        return Text(line, style="bold", no_wrap=True, overflow="crop")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(
        Text(label, style="bold", no_wrap=True),
        ProgressBar(total=total, completed=done, width=bar_width, pulse=total is None),
        Text(tail, no_wrap=True),
    )
    return grid


def _fit(parts: list[str], width: int) -> str:
    """As many of the first parts as fit into `width` columns."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line
