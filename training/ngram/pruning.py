"""Chooses which n-grams to keep within a number of bytes.

An n-gram is worth the log-likelihood that it adds to the text over its back-off (the weighted
difference of Seymore and Rosenfeld, 1996, less what its share takes from the context's other
back-off tokens, as in Stolcke, 1998). The worth depends on what else is kept, since occurrences
that an n-gram does not cover count for the order below: so choosing and estimating alternate.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.ngram_tables import stored_bytes
from training.ngram.counting import NgramCounts
from training.ngram.kneser_ney import Discounts, Estimate, estimate

NUM_ROUNDS = 2
_BISECTION_STEPS = 50


def choose_kept(
    counts: NgramCounts, *, max_bytes: int, discounts: Discounts, num_rounds: int = NUM_ROUNDS
) -> list[NDArray[np.bool_]]:
    """Masks (one for each order from 2) of the n-grams worth most within `max_bytes`.

    The first tokens of every kept n-gram are kept too. The single tokens always stay, whether or
    not they fit.
    """
    kept = [np.ones(level.tokens.size, dtype=np.bool_) for level in counts.levels]
    for _ in range(num_rounds):
        worths = _worths(counts, kept, estimate(counts, kept, discounts=discounts))
        kept = _within(counts, worths, max_bytes=max_bytes)
    return kept


def _worths(
    counts: NgramCounts, kept: Sequence[NDArray[np.bool_]], estimated: Estimate
) -> list[NDArray[np.float64]]:
    """Nats that each n-gram adds to the log-likelihood of the text, for each order from 2."""
    worths: list[NDArray[np.float64]] = []
    below = estimated.unigrams
    for level, mask, found in zip(counts.levels, kept, estimated.levels, strict=True):
        totals = found.totals[level.parents]
        share = found.discounted / totals
        # The context's back-off mass with this n-gram and without it.
        backoff_with = found.backoffs[level.parents] - np.where(mask, 0.0, share)
        backoff_without = backoff_with + share
        lower = below[level.suffixes]
        gain = np.log((share + backoff_with * lower) / (backoff_without * lower))
        others = backoff_with * (1 - lower)
        loss = others * np.log(backoff_without / backoff_with)
        worths.append(totals * ((share + backoff_with * lower) * gain - loss))
        below = found.probabilities
    return worths


def _within(
    counts: NgramCounts, worths: Sequence[NDArray[np.float64]], *, max_bytes: int
) -> list[NDArray[np.bool_]]:
    """Keeps what is worth at least a threshold, itself or as the beginning of what is."""
    best_below: list[NDArray[np.float64]] = []  # for each order from 1: best of its continuations
    best: list[NDArray[np.float64]] = []  # for each order from 2: with its continuations
    for level, worth in zip(reversed(counts.levels), reversed(worths), strict=True):
        own = np.maximum(worth, best_below[0]) if best_below else worth
        best.insert(0, own)
        best_below.insert(0, _group_maxima(level.parents, own, level.dropped_by_parent.size))
    sorted_best = [np.sort(values) for values in best]
    sorted_below = [np.sort(values) for values in best_below]

    def needed_bytes(threshold: float) -> int:
        held = [int(values.size - np.searchsorted(values, threshold)) for values in sorted_best]
        contexts = [
            int(values.size - np.searchsorted(values, threshold)) for values in sorted_below
        ]
        return stored_bytes(
            vocab_size=counts.vocab_size,
            num_nodes_by_order=(counts.vocab_size, *held),
            num_contexts=sum(contexts),
        )

    top = max((float(values[-1]) for values in sorted_best if values.size), default=0.0)
    low, high = 0.0, top * 2 + 1  # at `high` nothing is kept
    if needed_bytes(low) <= max_bytes:
        high = low
    for _ in range(_BISECTION_STEPS):
        middle = (low + high) / 2
        if needed_bytes(middle) <= max_bytes:
            high = middle
        else:
            low = middle
    return [values >= high for values in best]


def _group_maxima(
    sorted_groups: NDArray[np.uint32], values: NDArray[np.float64], num_groups: int
) -> NDArray[np.float64]:
    """The greatest value of each group, minus infinity for a group without one."""
    maxima = np.full(num_groups, -np.inf)
    if values.size:
        firsts = np.flatnonzero(np.diff(sorted_groups, prepend=sorted_groups[0] + 1) != 0)
        maxima[sorted_groups[firsts]] = np.maximum.reduceat(values, firsts)
    return maxima
