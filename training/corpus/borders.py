"""Where a long text may be cut so that both sides still read as text, in any script."""

import re
import unicodedata

__all__ = ["nearest_border"]

# From the best to the least place to cut; a border lies at the end of the match.
_BORDERS = (
    re.compile(r"\n[ \t]*\n+"),
    re.compile(r"\n"),
    re.compile(
        r"[.!?\u2026][\"')\]\u2019\u201d\u00bb]*\s+|[\u3002\uff01\uff1f\u0964\u06d4][\u300d\u300f\u201d\u2019]*"
    ),
    re.compile(r"\s+|[\uff0c\u3001\uff1b\uff1a]"),
)


def nearest_border(text: str, target: int, *, reach: int) -> int:
    """The position at most `reach` characters from `target` where the text is best cut.

    A paragraph's end is better than a line's, that than a sentence's, that than a word's; among
    equals the nearest wins. In a text without any of them the target itself is taken, moved back
    before a letter whose combining marks it would cut off.
    """
    low, high = max(0, target - reach), min(len(text), target + reach)
    for border in _BORDERS:
        ends = [found.end() for found in border.finditer(text, low, high)]
        # A match that the end of the window cut short is no border.
        ends = [end for end in ends if end < high or high == len(text)]
        if ends:
            return min(ends, key=lambda end: (abs(end - target), end))
    position = min(max(target, 0), len(text))
    while 0 < position < len(text) and unicodedata.combining(text[position]):
        position -= 1
    return position
