"""Decides what of a corpus is held out, from sizes and digests alone, and carries it out.

Whole documents where there are enough of them; else blocks spread evenly over the text, or its
tail. Which documents are chosen depends on their text and the seed only, not on names or order,
and documents with equal text stay on one side.
"""

import random
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.corpus.borders import nearest_border
from training.corpus.document import CorpusError, Document
from training.corpus.measures import Measures
from training.corpus.settings import CorpusSettings

__all__ = ["Split", "SplitName", "choose_split"]

SplitName = Literal["train", "held_out"]

_MIN_DOCUMENTS = 5
# How far the held-out size may be from the wanted one before auto prefers blocks to documents.
_LEAST_SHARE, _MOST_SHARE = 0.5, 2.0
_BLOCK_BYTES = 8_192
_MIN_BLOCK_BYTES = 500
_MIN_BLOCKS, _MAX_BLOCKS = 4, 64


@dataclass(frozen=True, slots=True)
class Split:
    """What is held out, either whole documents or ranges of characters of the whole corpus.

    Attributes:
        description: for the user, in words.
        held_out_documents: for each document whether it is held out; None when ranges are.
        ranges: disjoint ascending (start, end) in characters of all parts one after the other.
        is_exact: whether ranges are cut exactly there, not at the nearest paragraph's end.
    """

    description: str
    held_out_documents: npt.NDArray[np.bool_] | None = None
    ranges: Sequence[tuple[int, int]] = ()
    is_exact: bool = False

    def divide(
        self, document: Document, *, index: int, start: int
    ) -> Iterator[tuple[SplitName, Document]]:
        """Yields one part's pieces with the side each belongs to, in order.

        Args:
            document: the part.
            index: the index of the document that it belongs to.
            start: how many characters of the corpus are before it.
        """
        if self.held_out_documents is not None:
            yield "held_out" if self.held_out_documents[index] else "train", document
            return
        pieces = self._pieces(document.text, start)
        side_behind = self._side_at(start + len(document.text))
        sides_behind = [*(side for side, _, _ in pieces[1:]), side_behind]
        for number, (side, begin, end) in enumerate(pieces, start=1):
            name = document.name if len(pieces) == 1 else f"{document.name}#{number}"
            # Where the text goes on, but on the other side, it ends for this side.
            ends_here = side != sides_behind[number - 1] or (
                document.ends_here and number == len(pieces)
            )
            text = document.text[begin:end]
            if text.strip():
                yield side, Document(name, text, ends_here)

    def _side_at(self, position: int) -> SplitName:
        index = bisect_right(self.ranges, (position, sys.maxsize)) - 1
        is_held_out = index >= 0 and self.ranges[index][0] <= position < self.ranges[index][1]
        return "held_out" if is_held_out else "train"

    def _pieces(self, text: str, start: int) -> list[tuple[SplitName, int, int]]:
        pieces: list[tuple[SplitName, int, int]] = []
        position = 0
        first = max(0, bisect_right(self.ranges, (start, -1)) - 1)
        for range_start, range_end in self.ranges[first:]:
            if range_start >= start + len(text):
                break
            begin = self._border(text, range_start - start, range_end - range_start)
            end = self._border(text, range_end - start, range_end - range_start)
            begin = max(begin, position)
            if end <= begin:
                continue
            if begin > position:
                pieces.append(("train", position, begin))
            pieces.append(("held_out", begin, end))
            position = end
        if position < len(text):
            pieces.append(("train", position, len(text)))
        return pieces

    def _border(self, text: str, target: int, length: int) -> int:
        if target <= 0 or target >= len(text):
            return min(max(target, 0), len(text))
        return target if self.is_exact else nearest_border(text, target, reach=length // 4)


def choose_split(measures: Measures, settings: CorpusSettings) -> Split:
    """The split that the settings ask for, on the corpus that was measured.

    Raises:
        CorpusError: the corpus has too little of something for it.
    """
    if settings.held_out_paths:
        return _by_paths(measures, settings)
    wanted = min(settings.held_out_fraction * measures.total_bytes, settings.max_held_out_bytes)
    match settings.held_out_by:
        case "tail":
            return _tail(measures, wanted, settings)
        case "blocks":
            return _blocks(measures, wanted, settings)
        case "document":
            chosen = _choose_documents(measures, wanted)
            if chosen is None:
                raise CorpusError(
                    "corpus.held_out_by is document, but the corpus has not two different "
                    "documents (blocks or tail divide one)"
                )
            return _documents(measures, chosen)
        case "auto":
            chosen = _choose_documents(measures, wanted)
            if chosen is not None and measures.num_documents >= _MIN_DOCUMENTS:
                num_bytes = int(measures.document_bytes()[chosen].sum())
                if _LEAST_SHARE * wanted <= num_bytes <= _MOST_SHARE * wanted:
                    return _documents(measures, chosen)
            return _blocks(measures, wanted, settings)


def _by_paths(measures: Measures, settings: CorpusSettings) -> Split:
    chosen = measures.matched_documents()
    globs = " ".join(settings.held_out_paths)
    if not chosen.any():
        raise CorpusError(f"corpus.held_out_paths ({globs}) matches none of the corpus's files")
    if chosen.all():
        raise CorpusError(
            f"corpus.held_out_paths ({globs}) matches all of the corpus's files, so that none is "
            f"left to learn from"
        )
    return Split(f"the {int(chosen.sum()):,} documents of {globs}", held_out_documents=chosen)


def _choose_documents(measures: Measures, wanted: float) -> npt.NDArray[np.bool_] | None:
    """Documents of about `wanted` bytes in the order of their digests; None if impossible."""
    _, group_of_document = np.unique(measures.document_digests(), return_inverse=True)
    num_groups = int(group_of_document.max()) + 1
    if num_groups < 2:
        return None
    sizes = np.zeros(num_groups, dtype=np.int64)
    np.add.at(sizes, group_of_document, measures.document_bytes())
    is_chosen = np.zeros(num_groups, dtype=np.bool_)
    total, num_chosen = 0, 0
    for group, size in enumerate(sizes.tolist()):
        if num_chosen == num_groups - 1 or total >= 0.98 * wanted:
            break
        if total + size <= 1.05 * wanted:
            is_chosen[group] = True
            total += size
            num_chosen += 1
    if total < _LEAST_SHARE * wanted and num_chosen < num_groups - 1:
        # All that is left is larger than what is wanted: the smallest of it comes nearest.
        rest = np.flatnonzero(~is_chosen)
        smallest = int(rest[np.argmin(sizes[rest])])
        if abs(total + int(sizes[smallest]) - wanted) < abs(total - wanted) or num_chosen == 0:
            is_chosen[smallest] = True
    return is_chosen[group_of_document]


def _documents(measures: Measures, chosen: npt.NDArray[np.bool_]) -> Split:
    return Split(
        f"{int(chosen.sum()):,} of {measures.num_documents:,} documents",
        held_out_documents=chosen,
    )


def _tail(measures: Measures, wanted: float, settings: CorpusSettings) -> Split:
    total = measures.total_characters
    if wanted < settings.held_out_fraction * measures.total_bytes:
        start = total - int(total * wanted / measures.total_bytes)
    else:
        # The customary expression, so that the cut falls on the same character as elsewhere.
        start = int(total * (1 - settings.held_out_fraction))
    return Split("the exact tail of the text", ranges=((start, total),), is_exact=True)


def _blocks(measures: Measures, wanted: float, settings: CorpusSettings) -> Split:
    least = min(_MIN_BLOCKS, max(1, int(wanted) // _MIN_BLOCK_BYTES))
    num_blocks = min(_MAX_BLOCKS, max(least, int(wanted) // _BLOCK_BYTES))
    total = measures.total_characters
    stretch = total / num_blocks
    length = int(total * wanted / measures.total_bytes / num_blocks)
    places = random.Random(f"blocks {settings.split_seed}")
    ranges: list[tuple[int, int]] = []
    for number in range(num_blocks):
        start = int(number * stretch + places.random() * (stretch - length))
        ranges.append((start, start + length))
    return Split(
        f"{num_blocks} blocks of about {int(wanted) // num_blocks:,} bytes spread over the text",
        ranges=ranges,
    )
