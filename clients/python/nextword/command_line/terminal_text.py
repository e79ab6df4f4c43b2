"""Text of others on a terminal: what a model or a user wrote must not steer it."""

import sys

__all__ = ["read_text", "visible"]

# C0 and C1 but for tab and line feed, and the characters that turn the direction of text.
_STEERING = dict.fromkeys(
    (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    "\N{REPLACEMENT CHARACTER}",
)


def visible(text: str) -> str:
    """The text with U+FFFD for everything that a terminal would obey instead of show."""
    return text.translate(_STEERING)


def read_text(argument: str) -> str:
    """A text argument; ``-`` is the standard input without its last line end.

    Raises:
        UnicodeDecodeError: The standard input is not UTF-8.
    """
    if argument != "-":
        return argument
    text = sys.stdin.buffer.read().decode()
    return text.removesuffix("\n").removesuffix("\r")
