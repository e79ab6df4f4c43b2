"""Finds Project Gutenberg's header and licence around a book by the marker lines of all its years.

From 2001 or so on a book stands between lines "*** START OF ..." and "*** END OF ..."; before, the
header ended with the line "*END*THE SMALL PRINT!..." and the book with "End of Project Gutenberg's
...".
"""

import re
from dataclasses import dataclass

__all__ = ["BookRange", "find_book"]

_NAME = re.compile("Gutenberg|GUTENBERG")
# Long titles run over two or three lines before the closing stars.
_START = re.compile(
    r"^[ \t]*\*{3} ?START (?:OF|:) ?(?:THE|THIS|DE|DIESES)? ?PROJECT GUTENBERG[^*]{0,400}\*{3}.*\n",
    re.MULTILINE | re.IGNORECASE,
)
_START_UNCLOSED = re.compile(
    r"^[ \t]*\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG.*\n", re.MULTILINE | re.IGNORECASE
)
_SMALL_PRINT_END = re.compile(
    r"^[ \t]*\*(?:END)\*? ?THE SMALL PRINT.*(?:\n[^\n]*\*END\*[ \t]*)?\n",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(
    r"^[ \t]*(?:"
    r"\*{3} ?END OF (?:THE|THIS|DE|DIESES) ?PROJECT GUTENBERG"
    r"|\*{3} ?END:? (?:OF )?(?:THE )?(?:FULL )?(?:LICENSE|PROJECT GUTENBERG)"
    r"|(?:THE )?END OF (?:THE |THIS )?PROJECT GUTENBERG(?:'S|\u2019S)?\b"
    r"|ENDE? DIESES PROJEKTE? GUTENBERG"
    r"|FIN (?:DE |DU )?(?:CE )?PROJECT GUTENBERG"
    r")",
    re.MULTILINE | re.IGNORECASE,
)
# Who made the file, right behind the start: one paragraph that opens with these words.
_CREDITS = re.compile(
    r"\s*(?:Produced|E-?text prepared|E-?text produced|Transcribed|Prepared|Scanned"
    r"|This e-?text was|HTML version)\b[^\n]*(?:\n[^\n]+)*\n",
    re.IGNORECASE,
)
# A header ends well before this; a licence of 19,000 characters may follow a very short book.
_MAX_HEADER_CHARACTERS = 40_000


@dataclass(frozen=True, slots=True)
class BookRange:
    """Where the book itself lies: text[start:end]."""

    start: int
    end: int


def find_book(text: str) -> BookRange | None:
    """The range between the markers; None where the text has none of them."""
    if _NAME.search(text) is None:  # every marker's book has it, and most other texts end here
        return None
    start = 0
    for pattern in (_START, _START_UNCLOSED, _SMALL_PRINT_END):
        if found := pattern.search(text, 0, _MAX_HEADER_CHARACTERS):
            start = found.end()
            break
    if start and (credits := _CREDITS.match(text, start)):
        start = credits.end()
    found_end = _END.search(text, start)
    end = found_end.start() if found_end else len(text)
    if start == 0 and end == len(text):
        return None
    while start < end and text[start].isspace():
        start += 1
    return BookRange(start, len(text[:end].rstrip()))
