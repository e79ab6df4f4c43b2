"""Interpolated Kneser-Ney estimation for any chosen subset of the counted n-grams.

Modified Kneser-Ney after Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language
Modeling" (1998), section 3: three discounts an order, from the counts of counts. Where n-grams are
left out, their occurrences go to the order below, as in Siivola, Hirsimaki and Virpioja, "On
Growing and Pruning Kneser-Ney Smoothed N-Gram Models" (2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.ngram.counting import NgramCounts

Discounts = Literal["modified"] | float
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class LevelEstimate:
    """Estimates of the n-grams of one order k >= 2; parents are of order k - 1.

    Attributes:
        counts: float64 [n], adjusted counts: occurrences for the highest order and for n-grams
            that begin a document; else one for each kept n-gram that extends it to the left and
            the adjusted count of each such n-gram that was left out.
        discounted: float64 [n], adjusted count less its discount, for kept and left out alike.
        totals: float64 [n of order k - 1], adjusted counts that follow each parent.
        backoffs: float64 [n of order k - 1], mass that goes to the order below; 1 where no n-gram
            that continues the parent is kept.
        probabilities: float64 [n], of the last token after the first k - 1.
    """

    counts: NDArray[np.float64]
    discounted: NDArray[np.float64]
    totals: NDArray[np.float64]
    backoffs: NDArray[np.float64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A Kneser-Ney model as flat arrays.

    Attributes:
        unigrams: float64 [vocab_size], probability of each token without context; none is 0.
        levels: Orders 2, 3, ...
        discounts: For each order from 1, what is taken from the counts 1, 2 and 3 or more.
        fallback_orders: Orders whose counts of counts gave no usable discounts, so that
            FALLBACK_DISCOUNTS were taken.
    """

    unigrams: NDArray[np.float64]
    levels: tuple[LevelEstimate, ...]
    discounts: tuple[tuple[float, float, float], ...]
    fallback_orders: tuple[int, ...]


def estimate(
    counts: NgramCounts, kept: Sequence[NDArray[np.bool_]], *, discounts: Discounts = "modified"
) -> Estimate:
    """Estimates a model that holds the kept n-grams (a mask for each order from 2)."""
    adjusted = _adjusted_counts(counts, kept)
    discounts_by_order: list[tuple[float, float, float]] = []
    fallback_orders: list[int] = []
    for index, adjusted_counts in enumerate(adjusted):
        match discounts:
            case float():
                found = (discounts, discounts, discounts)
            case _:
                num_dropped = counts.levels[index - 1].num_dropped if index else 0
                found = modified_discounts(adjusted_counts, num_dropped=num_dropped)
        if found is None:
            found = FALLBACK_DISCOUNTS
            fallback_orders.append(index + 1)
        discounts_by_order.append(found)

    single = adjusted[0]
    taken = _taken(single, discounts_by_order[0])
    unigrams = (single - taken + taken.sum() / counts.vocab_size) / single.sum()
    levels: list[LevelEstimate] = []
    below = unigrams
    for level, mask, level_counts, level_discounts in zip(
        counts.levels, kept, adjusted[1:], discounts_by_order[1:], strict=True
    ):
        taken = _taken(level_counts, level_discounts)
        num_parents = below.size
        dropped = level.dropped_by_parent
        totals = dropped + _sums(level.parents, level_counts, num_parents)
        freed = dropped + _sums(level.parents, np.where(mask, taken, level_counts), num_parents)
        discounted = level_counts - taken
        backoffs = np.where(totals > 0, freed / np.maximum(totals, 1), 1.0)
        probabilities = backoffs[level.parents] * below[level.suffixes]
        probabilities += np.where(mask, discounted / totals[level.parents], 0.0)
        levels.append(LevelEstimate(level_counts, discounted, totals, backoffs, probabilities))
        below = probabilities
    return Estimate(unigrams, tuple(levels), tuple(discounts_by_order), tuple(fallback_orders))


def modified_discounts(
    adjusted_counts: NDArray[np.float64], *, num_dropped: int = 0
) -> tuple[float, float, float] | None:
    """The three discounts of Chen and Goodman's equation 26; None where they are not usable.

    Usable means that each is above 0 and below the smallest count it is taken from, which needs
    n-grams of every count from 1 to 4.

    Args:
        adjusted_counts: Counts of the n-grams of one order.
        num_dropped: Further n-grams of count 1.
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(adjusted_counts == count)) for count in (1, 2, 3, 4))
    n1 += num_dropped
    if 0 in (n1, n2, n3, n4):
        return None
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if all(0 < discount < limit for discount, limit in zip(found, (1, 2, 3), strict=True)):
        return found
    return None


def _adjusted_counts(
    counts: NgramCounts, kept: Sequence[NDArray[np.bool_]]
) -> list[NDArray[np.float64]]:
    """Adjusted counts for each order from 1."""
    if not counts.levels:
        return [counts.unigrams.astype(np.float64)]
    adjusted = [counts.levels[-1].counts.astype(np.float64)]
    for index in range(len(counts.levels) - 1, -1, -1):
        level = counts.levels[index]
        passed_on = np.where(kept[index], 1.0, adjusted[0])
        below = _sums(level.suffixes, passed_on, level.dropped_by_suffix.size)
        below += level.dropped_by_suffix
        if index:
            # Nothing stands before a document, so what begins one is counted as it occurs.
            starts = counts.levels[index - 1].document_starts
            below[starts] = counts.levels[index - 1].counts[starts]
        adjusted.insert(0, below)
    return adjusted


def _taken(
    counts: NDArray[np.float64], discounts: tuple[float, float, float]
) -> NDArray[np.float64]:
    """The discount of each count, 0 for a count of 0."""
    return np.array([0.0, *discounts])[np.minimum(counts, 3).astype(np.int64)]


def _sums(
    indices: NDArray[np.uint32], values: NDArray[np.float64], length: int
) -> NDArray[np.float64]:
    """Sum of the values at each index; exact for whole numbers."""
    return np.bincount(indices, weights=values, minlength=length).astype(np.float64)
