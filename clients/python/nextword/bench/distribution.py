"""Percentiles of measured times."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Distribution", "distribution", "percentile"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """How measured seconds are spread; None where nothing was measured."""

    count: int
    mean: float | None
    min: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


def distribution(seconds: Sequence[float]) -> Distribution:
    """The spread of values; a percentile lies on the line between its neighbours in rank."""
    if not seconds:
        return Distribution(0, None, None, None, None, None, None)
    ranked = sorted(seconds)
    return Distribution(
        count=len(ranked),
        mean=math.fsum(ranked) / len(ranked),
        min=ranked[0],
        p50=percentile(ranked, 0.50),
        p90=percentile(ranked, 0.90),
        p99=percentile(ranked, 0.99),
        max=ranked[-1],
    )


def percentile(ranked: Sequence[float], share: float) -> float:
    """The value that this share of ranked values, at least one, is not above."""
    place = share * (len(ranked) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)
