"""Pairs runs of stars and underscores to emphasis by CommonMark 0.31's rules.

It departs from them in one thing: a star in a calculation (2*3*4, a*b*c) stays.
"""

import unicodedata
from dataclasses import dataclass, field

__all__ = ["Marks", "Run", "pair_runs", "read_run"]


@dataclass(slots=True)
class Marks:
    """The ranges of a text to delete, and how many sure signs of Markdown are among them."""

    ranges: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    num_sure: int = 0

    def delete(self, start: int, end: int, *, sure: int = 0) -> None:
        """Adds a range, and `sure` signs."""
        self.ranges.append((start, end))
        self.num_sure += sure


@dataclass(slots=True)
class Run:
    """A run of stars or underscores that may begin or end an emphasis.

    `start` and `length` are what of it is not used yet, `origin` and `original_length` the run
    as it stands in the text.
    """

    mark: str
    origin: int
    original_length: int
    can_open: bool
    can_close: bool
    start: int
    length: int


def read_run(text: str, start: int, end: int) -> Run:
    """The run of stars or underscores at text[start:end], judged by its neighbours."""
    before, after = text[start - 1] if start else "\n", text[end] if end < len(text) else "\n"
    mark = text[start]
    is_open = not after.isspace() and (
        not _is_punctuation(after) or before.isspace() or _is_punctuation(before)
    )
    is_close = not before.isspace() and (
        not _is_punctuation(before) or after.isspace() or _is_punctuation(after)
    )
    can_open, can_close = is_open, is_close
    if mark == "_":
        can_open = is_open and (not is_close or _is_punctuation(before))
        can_close = is_close and (not is_open or _is_punctuation(after))
    elif _is_operator(before, after, end - start):
        can_open = can_close = False
    return Run(mark, start, end - start, can_open, can_close, start, end - start)


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _is_operator(before: str, after: str, length: int) -> bool:
    """Whether stars stand as in 2*3, 2**8 or a*b, where deleting them would join what they part."""
    if not (before.isascii() and before.isalnum() and after.isascii() and after.isalnum()):
        return False
    return length == 1 or before.isdigit() or after.isdigit()


def pair_runs(runs: list[Run], bottom: int, marks: Marks) -> None:
    """Deletes the marks of each emphasis among the runs from `bottom` on.

    Args:
        runs: in the order of the text; those from `bottom` on are forgotten.
        bottom: index of the first run that counts.
        marks: gets what is to be deleted.
    """
    # No opener for such a closer stands before this position: keeps the search short.
    searched: dict[tuple[str, bool, int], int] = {}
    index = bottom
    while index < len(runs):
        closer = runs[index]
        if not closer.can_close:
            index += 1
            continue
        key = (closer.mark, closer.can_open, closer.original_length % 3)
        opener_index = _opener(runs, index, bottom, searched.get(key, -1))
        if opener_index is None:
            searched[key] = closer.origin
            if closer.can_open:
                index += 1
            else:
                del runs[index]
            continue
        opener = runs[opener_index]
        width = 2 if opener.length >= 2 and closer.length >= 2 else 1
        opener.length -= width
        closer.length -= width
        marks.delete(opener.start + opener.length, opener.start + opener.length + width, sure=1)
        marks.delete(closer.start, closer.start + width)
        closer.start += width
        inner = opener_index + (opener.length > 0)
        del runs[inner : index + (closer.length == 0)]
        index = inner
    del runs[bottom:]


def _opener(runs: list[Run], index: int, bottom: int, searched_to: int) -> int | None:
    closer = runs[index]
    for candidate in range(index - 1, bottom - 1, -1):
        opener = runs[candidate]
        if opener.origin < searched_to:
            return None
        if opener.mark != closer.mark or not opener.can_open:
            continue
        # CommonMark's rule of three, which tells **a*b** from *a**b*.
        lengths = opener.original_length, closer.original_length
        is_either_way = opener.can_close or closer.can_open
        if is_either_way and sum(lengths) % 3 == 0 and lengths[0] % 3 != 0:
            continue
        return candidate
    return None
