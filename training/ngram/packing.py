"""Packs an estimate into the stored form: one byte for each count and back-off, a trie of tokens.

A byte is the number of one of at most 256 levels for each order. Where an order has no more than
256 different values the levels are those values, and nothing is lost; else the narrowest ratio is
taken for which bins of that width are enough, and a value is stored as the mean of its bin.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model.ngram_tables import (
    NUM_CODES,
    NgramTables,
    stored_bytes,
    token_dtype,
)
from training.ngram.counting import NgramCounts
from training.ngram.kneser_ney import Estimate

_BISECTION_STEPS = 40


def packed_bytes(counts: NgramCounts, kept: Sequence[NDArray[np.bool_]]) -> int:
    """Upper bound of the bytes on disk of a model with the kept n-grams."""
    num_contexts = sum(
        int(np.unique(level.parents[mask]).size)
        for level, mask in zip(counts.levels, kept, strict=True)
    )
    return stored_bytes(
        vocab_size=counts.vocab_size,
        num_nodes_by_order=(counts.vocab_size, *(int(np.count_nonzero(mask)) for mask in kept)),
        num_contexts=num_contexts,
    )


def pack(
    counts: NgramCounts,
    kept: Sequence[NDArray[np.bool_]],
    estimated: Estimate,
    *,
    end_of_text_id: int,
    facts: Mapping[str, object],
) -> NgramTables:
    """Makes the stored form of the kept n-grams.

    The kept n-grams must be closed: the first k - 1 tokens of each one of order k are kept too.
    """
    levels = np.ones((2, counts.order - 1, NUM_CODES))
    tokens: list[NDArray[np.unsignedinteger]] = []
    weights: list[NDArray[np.uint8]] = []
    has_children: list[NDArray[np.bool_]] = []
    first_children: list[NDArray[np.bool_]] = []
    backoffs: list[NDArray[np.uint8]] = []
    parents_kept = np.ones(counts.vocab_size, dtype=np.bool_)
    for index, (level, mask, level_estimate) in enumerate(
        zip(counts.levels, kept, estimated.levels, strict=True)
    ):
        children = np.bincount(level.parents[mask], minlength=parents_kept.size)[parents_kept]
        is_context = children > 0
        backoff = level_estimate.backoffs[parents_kept][is_context]
        levels[0, index], weight_codes = quantise(level_estimate.discounted[mask])
        levels[1, index], backoff_codes = quantise(backoff / (1 - backoff))
        tokens.append(level.tokens[mask].astype(token_dtype(counts.vocab_size)))
        weights.append(weight_codes)
        has_children.append(is_context)
        parents = level.parents[mask].astype(np.int64)
        first_children.append(np.diff(parents, prepend=-1) != 0)
        backoffs.append(backoff_codes)
        parents_kept = mask
    if not counts.levels:
        tokens.append(np.zeros(0, dtype=token_dtype(counts.vocab_size)))
        first_children.append(np.zeros(0, dtype=np.bool_))
        weights.append(np.zeros(0, dtype=np.uint8))
        backoffs.append(np.zeros(0, dtype=np.uint8))
        has_children.append(np.zeros(0, dtype=np.bool_))
    return NgramTables(
        order=counts.order,
        vocab_size=counts.vocab_size,
        end_of_text_id=end_of_text_id,
        num_nodes_by_order=(counts.vocab_size, *(int(np.count_nonzero(mask)) for mask in kept)),
        unigrams=estimated.unigrams,
        tokens=np.concatenate(tokens),
        weights=np.concatenate(weights),
        has_children=np.packbits(np.concatenate(has_children), bitorder="little"),
        first_children=np.packbits(np.concatenate(first_children), bitorder="little"),
        backoffs=np.concatenate(backoffs),
        levels=levels,
        facts=facts,
    )


def quantise(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Levels (float64 [256], unused ones 1) and the code of each value (all positive)."""
    levels = np.ones(NUM_CODES)
    if not values.size:
        return levels, np.zeros(0, dtype=np.uint8)
    distinct = np.unique(values)
    firsts = np.arange(distinct.size, dtype=np.int64)
    if distinct.size > NUM_CODES:
        low, high = 0.0, float(np.log(distinct[-1] / distinct[0])) / (NUM_CODES - 1) + 1e-9
        for _ in range(_BISECTION_STEPS):
            middle = (low + high) / 2
            if _bins(distinct, float(np.exp(middle))) is None:
                low = middle
            else:
                high = middle
        found = _bins(distinct, float(np.exp(high)))
        assert found is not None, "equal bins over the whole range are always enough"
        firsts = found
    codes = np.searchsorted(distinct[firsts], values, side="right") - 1
    # A bin of one value keeps it to the bit, which a mean of copies would not.
    means = np.bincount(codes, values) / np.bincount(codes)
    is_single = np.append(firsts[1:], distinct.size) - firsts == 1
    levels[: firsts.size] = np.where(is_single, distinct[firsts], means)
    return levels, codes.astype(np.uint8)


def _bins(distinct: NDArray[np.float64], ratio: float) -> NDArray[np.int64] | None:
    """Where bins of that width begin in the sorted values; None when more than 256 are needed."""
    firsts: list[int] = []
    start = 0
    while start < distinct.size:
        if len(firsts) == NUM_CODES:
            return None
        firsts.append(start)
        start = int(np.searchsorted(distinct, float(distinct[start]) * ratio, side="right"))
    return np.array(firsts)
