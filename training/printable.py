"""Text of unknown origin made safe for a terminal or a log viewer.

A model may write any character it has seen: escape sequences that repaint the screen, carriage
returns that hide a line, marks that turn the reading direction around. They are shown as escapes
instead of obeyed.
"""

import re

# C0 (without line feed), DEL, C1, line and paragraph separators, direction marks and overrides,
# lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str, *, encoding: str = "utf-8") -> str:
    r"""Returns `text` with control characters as escapes such as ``\x1b``; line feeds stay.

    Args:
        text: anything, also what a model wrote.
        encoding: of the stream it goes to; characters that the stream cannot carry become escapes
            too.
    """
    escaped = _UNSAFE.sub(_escape, text)
    return escaped.encode(encoding, "backslashreplace").decode(encoding)


def printable_line(text: str, *, encoding: str = "utf-8") -> str:
    r"""Returns `text` as `printable` does, with line feeds shown as ``\n``: always one line."""
    return printable(text, encoding=encoding).replace("\n", "\\n")


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return "\\t" if code == 9 else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
