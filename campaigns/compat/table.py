"""The table of docs/clients.md: what was tried, with which version, and when."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from campaigns.compat.clients import CLIENTS, Client

__all__ = ["read_table", "write_table"]

BEGIN = "<!-- written by make compat -->"
END = "<!-- end of what make compat writes -->"
HEAD = ("| package | version | on | checks that held | what was tried |", "|---|---|---|---|---|")


def read_table(text: str) -> dict[str, str]:
    """The rows of a page by the client's name.

    Raises:
        ValueError: The page has no place for a table.
    """
    place = re.search(re.escape(BEGIN) + r"\n(.*?)" + re.escape(END), text, re.DOTALL)
    if place is None:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    rows = [line for line in place[1].splitlines() if line.startswith("| `")]
    return {row.split("`")[1]: row for row in rows}


def write_table(page: Path, rows: Sequence[tuple[Client, str, str]]) -> None:
    """Write rows into a page; those of clients that were not tried now stay as they are.

    Args:
        page: A Markdown file with the two marks.
        rows: A client, its version, and how many checks held.
    """
    text = page.read_text("utf-8")
    table = read_table(text)
    day = datetime.now(UTC).date().isoformat()
    for client, version, held in rows:
        package = f"`{client.name}`"
        table[client.name] = f"| {package} | {version} | {day} | {held} | {client.tried} |"
    ordered = [table[client.name] for client in CLIENTS if client.name in table]
    written = "\n".join([BEGIN, "", *HEAD, *ordered, "", END])
    pattern = re.escape(BEGIN) + r"\n.*?" + re.escape(END)
    page.write_text(re.sub(pattern, lambda _: written, text, flags=re.DOTALL), "utf-8")
