"""The tokens of a text as a table: ids, characters, places in its bytes."""

from nextword.answers import Token
from nextword.command_line.tables import new_table, print_table
from nextword.command_line.terminal_text import visible

__all__ = ["print_tokens"]


def print_tokens(text: str, parts: tuple[Token, ...]) -> None:
    """Print a row for each token, and their number."""
    table = new_table("place", "id", "text", "bytes", numbers=("place", "id", "bytes"))
    encoded = text.encode()
    for place, part in enumerate(parts):
        span = f"{part.start}..{part.end}"
        table.add_row(str(place), str(part.id), _shown(part, encoded), span)
    print_table(table)
    print(f"{len(parts)} tokens for {len(encoded)} bytes")


def _shown(part: Token, encoded: bytes) -> str:
    """The token's own characters in quotes; its bytes where it holds no whole ones."""
    if part.start == part.end:
        return visible(part.text)
    piece = encoded[part.start : part.end]
    try:
        return repr(piece.decode())
    except UnicodeDecodeError:
        return f"<{piece.hex(' ').upper()}>"
