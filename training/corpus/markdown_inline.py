"""Takes the marks inside a paragraph of Markdown away: emphasis, links, code spans, escapes.

Decides by CommonMark 0.31's rules and only ever deletes characters, so that words and lines stay
as they are.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass

from training.corpus.markdown_emphasis import Marks, Run, pair_runs, read_run

__all__ = ["StrippedText", "label_key", "strip_inline"]

_TOKEN = re.compile(
    r"(?P<escape>\\(?=[!-/:-@\[-`{-~\n]))|(?P<code>`+)|(?P<run>\*+|_+)|(?P<open>!?\[)|(?P<close>\])"
    r"|(?P<comment><!--)|(?P<angle><)"
)
_AUTOLINK = re.compile(
    r"<(?:[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*|[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)*)>",
    re.ASCII,
)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_DESTINATION = re.compile(
    r"\([ \t]*\n?[ \t]*"
    r"(?:(?:<[^<>\n]*>|(?!<)(?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))+)"
    r"(?:[ \t\n]+(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\)))?)?"
    r"[ \t]*\n?[ \t]*\)",
    re.DOTALL,
)
_REFERENCE = re.compile(r"\[((?:[^\[\]\\]|\\.)*)\]", re.DOTALL)
_RUNS = re.compile("`+")


@dataclass(frozen=True, slots=True)
class StrippedText:
    """A text without its marks, and how many sure signs of Markdown it had."""

    text: str
    num_marks: int


@dataclass(slots=True)
class _Bracket:
    """An opening bracket of a link or image, and the runs that stand before it."""

    start: int
    end: int
    num_runs: int
    is_active: bool = True

    @property
    def is_image(self) -> bool:
        return self.end - self.start == 2


def label_key(label: str) -> str:
    """What a link's label is compared by."""
    return " ".join(label.split()).casefold()


def strip_inline(text: str, *, labels: frozenset[str] = frozenset()) -> StrippedText:
    """Takes the marks of one paragraph or heading away.

    Args:
        text: the paragraph's lines, without marks of quotes and lists.
        labels: keys of the link labels that the document defines.
    """
    marks = Marks()
    runs: list[Run] = []
    brackets: list[_Bracket] = []
    code_runs: dict[int, list[int]] | None = None
    last_comment_end = text.rfind("-->")
    position = 0
    while found := _TOKEN.search(text, position):
        start, position = found.span()
        match found.lastgroup:
            case "escape":
                position += 1
                marks.delete(start, start + 1, sure=1)
            case "code":
                if code_runs is None:
                    code_runs = _code_runs(text)
                position = _code_span(text, start, position, code_runs, marks)
            case "run":
                runs.append(read_run(text, start, position))
            case "open":
                brackets.append(_Bracket(start, position, len(runs)))
            case "close":
                if brackets:
                    position = _close_bracket(text, position, brackets, runs, labels, marks)
            case "comment":
                if position <= last_comment_end:
                    position = text.index("-->", position) + len("-->")
                    marks.delete(start, position)
            case _:
                if link := _AUTOLINK.match(text, start):
                    marks.delete(start, start + 1)
                    marks.delete(link.end() - 1, link.end())
                    position = link.end()
                elif tag := _TAG.match(text, start):
                    position = tag.end()
    pair_runs(runs, 0, marks)
    return StrippedText(_without(text, marks.ranges), marks.num_sure)


def _without(text: str, ranges: list[tuple[int, int]]) -> str:
    """The text without some ranges; those inside a range that begins earlier fall with it."""
    parts: list[str] = []
    kept_to = 0
    for start, end in sorted(ranges):
        if start > kept_to:
            parts.append(text[kept_to:start])
        kept_to = max(kept_to, end)
    parts.append(text[kept_to:])
    return "".join(parts)


def _code_runs(text: str) -> dict[int, list[int]]:
    """For each length of a run of backticks where such runs begin."""
    starts: dict[int, list[int]] = {}
    for found in _RUNS.finditer(text):
        starts.setdefault(len(found[0]), []).append(found.start())
    return starts


def _code_span(
    text: str, start: int, end: int, code_runs: dict[int, list[int]], marks: Marks
) -> int:
    """Deletes a code span's backticks; the position to go on from."""
    length = end - start
    candidates = code_runs.get(length, [])
    index = bisect_right(candidates, start)
    if index == len(candidates):
        return end
    close = candidates[index]
    content = text[end:close]
    # One space on either side only keeps a backtick of the content off the marks.
    is_padded = content[:1] == content[-1:] == " " and bool(content.strip())
    marks.delete(start, end + is_padded)
    marks.delete(close - is_padded, close + length)
    return close + length


def _close_bracket(
    text: str,
    end: int,
    brackets: list[_Bracket],
    runs: list[Run],
    labels: frozenset[str],
    marks: Marks,
) -> int:
    """Deletes what makes a link or image of the text before `end`; the position to go on from."""
    bracket = brackets.pop()
    if not bracket.is_active:
        return end
    link_end = _link_end(text, bracket, end, labels)
    if link_end is None:
        return end
    marks.delete(bracket.start, bracket.end, sure=1)
    marks.delete(end - 1, link_end)
    pair_runs(runs, bracket.num_runs, marks)
    if not bracket.is_image:
        for outer in reversed(brackets):  # a link holds no links
            if not (outer.is_active or outer.is_image):
                break  # those before it are no more active than it is
            outer.is_active = outer.is_image
    return link_end


def _link_end(text: str, bracket: _Bracket, end: int, labels: frozenset[str]) -> int | None:
    """Where the link ends whose text's closing bracket ends at `end`; None if it is no link."""
    if destination := _DESTINATION.match(text, end):
        return destination.end()
    if not labels:
        return None
    reference = _REFERENCE.match(text, end)
    if reference and reference[1].strip():
        return reference.end() if label_key(reference[1]) in labels else None
    if label_key(text[bracket.end : end - 1]) in labels:
        return reference.end() if reference else end
    return None
