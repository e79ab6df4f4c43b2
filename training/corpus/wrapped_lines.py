"""Joins the lines of hard-wrapped prose, and leaves lines that were meant as lines alone.

The test is the one that wrapping itself obeys: a line was broken by the margin only if the first
word of the next line would not have fitted on it. Verse, plays, lists and tables break long
before their margin; wrapped prose nearly never does.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["JoinedText", "is_hard_wrapped", "join_wrapped_lines"]

_PARAGRAPH_BREAK = re.compile(r"\n(?:[ \t]*\n)+")
# Lines that say by their beginning that they stand for themselves.
_OWN_LINE = re.compile(r"[ \t]{2,}|[|>#]|[-*+] |\d{1,3}[.)] |```|~~~|_{3,}|={3,}")
_NO_SPACES = re.compile("[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")

_MIN_BREAKS = 12
_MIN_WIDTH, _MAX_WIDTH = 30, 120
# Share of the breaks in paragraphs that the margin explains: prose 0.9 and more, pentameter 0.3.
_WRAPPED_SHARE = 0.75
# A wrapped file has hardly any line that is longer than its margin.
_LONGER_SHARE, _OVERHANG = 0.05, 10
# Lines of wrapped prose that begin with a capital: a fifth (in German two fifths); of verse all.
_CAPITALS_SHARE = 0.65
_MIN_VERSE_BREAKS = 3
# Broken lines that end with a sentence: a tenth; in a text of one sentence a line nearly all.
_FINISHED = re.compile("[.!?\u2026\u3002\uff01\uff1f\u0964][\"')\u2019\u201d\u00bb\u300d]*\\s*$")
_FINISHED_SHARE = 0.5
# In one paragraph a few lines may be short: an editor changed a word after wrapping.
_PARAGRAPH_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class JoinedText:
    """A text with its wrapped lines joined, and how many line breaks that took away."""

    text: str
    num_joined: int


def is_hard_wrapped(text: str) -> bool:
    """Whether the line lengths of a text show prose that was wrapped at one width."""
    return _margin(text) is not None


def join_wrapped_lines(text: str, *, force: bool = False) -> JoinedText:
    """Makes one line of each paragraph that was wrapped at the text's margin.

    Args:
        text: line ends as line feeds.
        force: join at the widest common width even where the text as a whole does not look
            wrapped; paragraphs of verse, lists and tables still keep their lines.
    """
    margin = _margin(text, force=force)
    if margin is None:
        return JoinedText(text, 0)
    parts: list[str] = []
    num_joined = 0
    start = 0
    for gap in [*_PARAGRAPH_BREAK.finditer(text), None]:
        paragraph = text[start : gap.start() if gap else len(text)]
        body = paragraph.rstrip("\n")
        if "\n" in body and _is_wrapped_paragraph(lines := body.split("\n"), margin):
            parts += [_join(lines), paragraph[len(body) :]]
            num_joined += len(lines) - 1
        else:
            parts.append(paragraph)
        if gap:
            parts.append(gap[0])
            start = gap.end()
    return JoinedText("".join(parts), num_joined)


def _margin(text: str, *, force: bool = False) -> int | None:
    """The width in characters at which a text was wrapped, None if it was not."""
    if not force and text.count("\n") < _MIN_BREAKS:
        return None
    pairs = [
        pair
        for paragraph in _PARAGRAPH_BREAK.split(text)
        if "\n" in paragraph
        for pair in _breaks(paragraph.strip("\n").split("\n"))
    ]
    if len(pairs) < (1 if force else _MIN_BREAKS):
        return None
    widths = sorted(len(line.rstrip()) for line, _ in pairs)
    margin = widths[(len(widths) - 1) * 95 // 100]
    if force:
        return margin
    if not _MIN_WIDTH <= margin <= _MAX_WIDTH:
        return None
    # Where paragraphs are single long lines, what has line breaks is verse or a list.
    num_lines = text.count("\n") + 1
    num_longer = sum(len(line) > margin + _OVERHANG for line in text.split("\n"))
    if num_longer > _LONGER_SHARE * num_lines:
        return None
    if _num_capitals(pairs) > _CAPITALS_SHARE * len(pairs):
        return None
    num_finished = sum(_FINISHED.search(line) is not None for line, _ in pairs)
    if num_finished > _FINISHED_SHARE * len(pairs):
        return None
    num_forced = sum(_is_forced(line, following, margin) for line, following in pairs)
    return margin if num_forced >= _WRAPPED_SHARE * len(pairs) else None


def _breaks(lines: list[str]) -> list[tuple[str, str]]:
    return [
        (line, following) for line, following in pairwise(lines) if not _OWN_LINE.match(following)
    ]


def _num_capitals(pairs: list[tuple[str, str]]) -> int:
    """How many lines that follow another begin with a capital, as lines of verse do."""
    return sum(following.lstrip("\"'([\u2018\u201c_*")[:1].isupper() for _, following in pairs)


def _is_forced(line: str, following: str, margin: int) -> bool:
    """Whether the next line's first word would not have fitted within the margin."""
    following = following.lstrip()
    if _NO_SPACES.match(following):
        # Wrapped by characters; a line may be two short because of what may not begin a line.
        return len(line.rstrip()) >= margin - 2
    word = following.partition(" ")[0]
    return len(line.rstrip()) + 1 + len(word) > margin


def _is_wrapped_paragraph(lines: list[str], margin: int) -> bool:
    if any(_OWN_LINE.match(line) for line in lines[1:]) or _OWN_LINE.match(lines[0].lstrip()):
        return False
    # Two spaces at a line's end are Markdown's way to say that it ends here.
    if any(line.endswith("  ") for line in lines[:-1]):
        return False
    pairs = list(pairwise(lines))
    if len(pairs) >= _MIN_VERSE_BREAKS and _num_capitals(pairs) == len(pairs):
        return False
    num_forced = sum(_is_forced(line, following, margin) for line, following in pairs)
    return num_forced >= _PARAGRAPH_SHARE * (len(lines) - 1)


def _join(lines: list[str]) -> str:
    joined = lines[0].rstrip()
    parts = [joined]
    for line in lines[1:]:
        stripped = line.strip()
        previous = parts[-1]
        touches = previous.endswith("-") or (
            _NO_SPACES.match(previous[-1:]) and _NO_SPACES.match(stripped)
        )
        parts += [stripped] if touches else [" " + stripped]
    return "".join(parts)
