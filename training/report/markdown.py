"""Puts text of unknown origin into Markdown so that it stays text: no headings, links, HTML or
cells."""

import re

from training.printable import printable, printable_line


def inline(text: str) -> str:
    """One line of plain text: nothing in it becomes HTML, a link, a heading or a table cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", printable_line(text))


def code(text: str) -> str:
    """A code span; back quotes, which would end it, become apostrophes."""
    return f"`{printable_line(text).replace('`', chr(39))}`"


def fenced(text: str, *, language: str = "text") -> str:
    """A code block that its content cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text)}\n{fence}"
