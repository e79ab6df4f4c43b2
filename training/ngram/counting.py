"""Counts n-grams by sorting packed keys, order by order; no dictionaries.

An n-gram of order k is the pair (number of its first k - 1 tokens among the n-grams of order k - 1,
last token), packed into one 64-bit key, so any vocabulary and order fit. A document is counted with
one end-of-text token before it; no n-gram reaches over one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.ngram_description import NgramError

NONE = np.uint32(0xFFFFFFFF)  # no n-gram of this order ends here, or it was dropped
_SORTED_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class NgramLevel:
    """All n-grams of one order k >= 2, sorted by (parent, token).

    Attributes:
        parents: uint32 [n], the first k - 1 tokens, as an index into order k - 1.
        tokens: uint32 [n], the last token.
        suffixes: uint32 [n], the last k - 1 tokens, as an index into order k - 1.
        counts: int64 [n], occurrences.
        num_dropped: N-grams that occur once and are left out of the arrays above.
        dropped_by_parent: int64 [n of order k - 1], how many of them begin with each.
        dropped_by_suffix: int64 [n of order k - 1], how many of them end with each.
        document_starts: The n-grams whose first token is end of text, neighbours by the sort.
    """

    parents: NDArray[np.uint32]
    tokens: NDArray[np.uint32]
    suffixes: NDArray[np.uint32]
    counts: NDArray[np.int64]
    num_dropped: int
    dropped_by_parent: NDArray[np.int64]
    dropped_by_suffix: NDArray[np.int64]
    document_starts: slice


@dataclass(frozen=True, slots=True)
class NgramCounts:
    """What a text holds.

    Attributes:
        vocab_size: Number of token ids.
        num_tokens: Tokens counted.
        unigrams: int64 [vocab_size], occurrences of each token.
        levels: Orders 2, 3, ...
    """

    vocab_size: int
    num_tokens: int
    unigrams: NDArray[np.int64]
    levels: tuple[NgramLevel, ...]

    @property
    def order(self) -> int:
        """Longest n-gram counted."""
        return len(self.levels) + 1

    @property
    def num_nodes_by_order(self) -> tuple[int, ...]:
        """Different n-grams held, order 1 (the whole vocabulary) first."""
        return (self.vocab_size, *(level.tokens.size for level in self.levels))


def count_ngrams(
    token_arrays: Sequence[NDArray[np.integer]],
    *,
    vocab_size: int,
    end_of_text_id: int,
    order: int,
    first_order_without_singles: int | None = None,
) -> NgramCounts:
    """Counts the n-grams of a stream of tokens; needs about 40 bytes of memory a token.

    Args:
        token_arrays: Parts of one stream of documents, each followed by end of text.
        vocab_size: Number of token ids.
        end_of_text_id: The token between documents.
        order: Longest n-gram.
        first_order_without_singles: From this order on (3 or more), n-grams that occur once are
            only tallied, which saves most of the time and memory; None keeps them all.

    Raises:
        NgramError: A token id is outside the vocabulary.
    """
    for array in token_arrays:
        if array.size and not 0 <= int(array.min()) <= int(array.max()) < vocab_size:
            given = f"{array.min()} to {array.max()}"
            raise NgramError(f"token ids must be 0 to {vocab_size - 1}, given {given}")
    document_start = np.array([end_of_text_id], dtype=np.uint32)
    stream = np.concatenate((document_start, *token_arrays), dtype=np.uint32, casting="unsafe")
    reach = _longest_orders(stream == end_of_text_id, order)
    ends = stream  # the n-gram of the current order that ends at each position
    levels: list[NgramLevel] = []
    starts = slice(end_of_text_id, end_of_text_id + 1)
    num_parents = vocab_size
    for level_order in range(2, order + 1):
        drops = first_order_without_singles is not None and (
            level_order >= first_order_without_singles
        )
        level, ends = _count_level(
            stream,
            ends,
            is_inside=reach >= level_order,
            vocab_size=vocab_size,
            num_parents=num_parents,
            drops_singles=drops,
            parent_starts=starts,
        )
        levels.append(level)
        starts, num_parents = level.document_starts, level.tokens.size
    return NgramCounts(
        vocab_size=vocab_size,
        num_tokens=stream.size - 1,
        unigrams=np.bincount(stream[1:], minlength=vocab_size).astype(np.int64),
        levels=tuple(levels),
    )


def _longest_orders(is_end_of_text: NDArray[np.bool_], order: int) -> NDArray[np.uint8]:
    """For each position, the longest n-gram (at most `order`) that ends there; 1 at the first."""
    reach = np.full(is_end_of_text.size, order, dtype=np.uint8)
    ends = np.flatnonzero(is_end_of_text)
    # The nearest end of text decides, so its distance is written last.
    for distance in range(order - 1, 0, -1):
        positions = ends + distance
        reach[positions[positions < reach.size]] = distance + 1
    reach[0] = 1
    return reach


def _count_level(
    stream: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    *,
    is_inside: NDArray[np.bool_],
    vocab_size: int,
    num_parents: int,
    drops_singles: bool,
    parent_starts: slice,
) -> tuple[NgramLevel, NDArray[np.uint32]]:
    """One order from the one below: its n-grams, and which of them ends at each position."""
    parent_at = np.where(is_inside[1:], ends[:-1], NONE)
    suffix_at = np.where(is_inside[1:], ends[1:], NONE)
    by_parent = np.bincount(parent_at[parent_at != NONE], minlength=num_parents)
    by_suffix = np.bincount(suffix_at[suffix_at != NONE], minlength=num_parents)
    num_windows = int(np.count_nonzero(is_inside[1:]))
    new_ends = np.full(stream.size, NONE, dtype=np.uint32)
    parents: list[NDArray[np.uint32]] = []
    tokens: list[NDArray[np.uint32]] = []
    suffixes: list[NDArray[np.uint32]] = []
    counts: list[NDArray[np.int64]] = []
    num_found = 0
    for low, high in _parent_ranges(by_parent):
        in_range = (parent_at >= low) & (parent_at < high) & (suffix_at != NONE)
        positions = np.flatnonzero(in_range)
        keys = parent_at[positions].astype(np.uint64) * np.uint64(vocab_size)
        keys += stream[positions + 1]
        by_key = np.argsort(keys)
        keys, positions = keys[by_key], positions[by_key]
        is_first = np.concatenate(([True], keys[1:] != keys[:-1])) if keys.size else keys == keys
        firsts = np.flatnonzero(is_first)
        occurrences = np.diff(firsts, append=keys.size)
        is_held = occurrences > 1 if drops_singles else occurrences > 0
        held = firsts[is_held]
        numbers = np.full(firsts.size, NONE, dtype=np.uint32)
        numbers[is_held] = num_found + np.arange(held.size, dtype=np.uint32)
        new_ends[positions + 1] = np.repeat(numbers, occurrences)
        parents.append((keys[held] // np.uint64(vocab_size)).astype(np.uint32))
        tokens.append((keys[held] % np.uint64(vocab_size)).astype(np.uint32))
        suffixes.append(suffix_at[positions[held]])
        counts.append(occurrences[is_held])
        num_found += held.size
    all_parents, all_suffixes = np.concatenate(parents), np.concatenate(suffixes)
    all_counts = np.concatenate(counts)
    level = NgramLevel(
        parents=all_parents,
        tokens=np.concatenate(tokens),
        suffixes=all_suffixes,
        counts=all_counts,
        num_dropped=num_windows - int(all_counts.sum()),
        dropped_by_parent=by_parent - _sums(all_parents, all_counts, num_parents),
        dropped_by_suffix=by_suffix - _sums(all_suffixes, all_counts, num_parents),
        document_starts=slice(
            *np.searchsorted(all_parents, [parent_starts.start, parent_starts.stop]).tolist()
        ),
    )
    return level, new_ends


def _parent_ranges(windows_by_parent: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of parents with about `_SORTED_AT_ONCE` windows each, to bound the memory."""
    before = np.cumsum(windows_by_parent)
    num_windows = int(before[-1]) if before.size else 0
    goals = np.arange(_SORTED_AT_ONCE, num_windows, _SORTED_AT_ONCE)
    cuts = np.unique(np.searchsorted(before, goals) + 1).tolist()
    return list(pairwise([0, *(cut for cut in cuts if cut < before.size), before.size]))


def _sums(indices: NDArray[np.uint32], values: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    # bincount adds in float64, exact far beyond any count we can hold.
    return np.bincount(indices, weights=values, minlength=length).astype(np.int64)
