"""Plain tables: columns without frames, the same on a terminal and in a pipe."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["new_table", "print_table"]

# Wider than any line, so that a pipe gets one row a line.
_PIPE_COLUMNS = 100_000


def new_table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table; columns of numbers are flush right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    return table


def print_table(table: Table, *, is_remark: bool = False) -> None:
    """Print to the standard output, or to the standard error what is a remark."""
    stream = sys.stderr if is_remark else sys.stdout
    width = None if stream.isatty() else _PIPE_COLUMNS
    Console(file=stream, width=width, highlight=False, markup=False).print(table)


def plain(text: str) -> Text:
    """A cell whose brackets are no markup."""
    return Text(text)
