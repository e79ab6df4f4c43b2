"""Pearson's test of counts against exact probabilities, with an exact tail for whole degrees."""

import math
from collections.abc import Sequence

__all__ = ["chi_square_tail", "goodness_of_fit"]

# Rarer tokens are put together: the statistic's law needs some expected counts in each cell.
MIN_EXPECTED = 5.0


def goodness_of_fit(counts: Sequence[int], probabilities: Sequence[float]) -> float:
    """Probability of counts at least this far from what they should be; 0 where one is impossible.

    Args:
        counts: How often each token was drawn.
        probabilities: Exact ones; they add up to 1.
    """
    num_draws = sum(counts)
    cells: list[tuple[float, float]] = []
    rare_count, rare_expected = 0, 0.0
    for count, probability in zip(counts, probabilities, strict=True):
        expected = num_draws * probability
        if probability == 0.0 and count:
            return 0.0
        if expected >= MIN_EXPECTED:
            cells.append((count, expected))
        else:
            rare_count += count
            rare_expected += expected
    if rare_expected >= MIN_EXPECTED:
        cells.append((rare_count, rare_expected))
    elif rare_count and cells:
        # Too few for a cell of their own: they join the smallest one.
        cells.sort(key=lambda cell: cell[1])
        cells[0] = (cells[0][0] + rare_count, cells[0][1] + rare_expected)
    if len(cells) < 2:
        return 1.0
    statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
    return chi_square_tail(statistic, len(cells) - 1)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Probability that a chi-square variable of whole degrees of freedom exceeds a number."""
    half = statistic / 2
    if half <= 0.0:
        return 1.0
    # Q(a + 1, x) = Q(a, x) + x^a e^-x / Gamma(a + 1), from Q(1, x) or Q(1/2, x) on.
    order = 1.0 if freedom % 2 == 0 else 0.5
    tail = math.exp(-half) if order == 1.0 else math.erfc(math.sqrt(half))
    while order < freedom / 2:
        tail += math.exp(order * math.log(half) - half - math.lgamma(order + 1))
        order += 1.0
    return min(tail, 1.0)
