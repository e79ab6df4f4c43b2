"""Reduces a run's steps to the points that a chart can show: means over bins, and a smoothed
curve."""

import math
from collections.abc import Sequence

from training.run_log.events import Step

_MAX_POINTS = 300


def binned_losses(steps: Sequence[Step]) -> list[tuple[float, float]]:
    """Training losses over the steps, in at most a few hundred points."""
    return bin_means([(step.step, step.loss) for step in steps])


def bin_means(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Means over neighbouring steps, so that a long run draws as fast as a short one; NaN stays
    NaN."""
    width = -(-len(points) // _MAX_POINTS)
    bins = [points[begin : begin + width] for begin in range(0, len(points), max(1, width))]
    return [
        (sum(step for step, _ in each) / len(each), sum(value for _, value in each) / len(each))
        for each in bins
    ]


def smoothed_losses(steps: Sequence[Step]) -> list[tuple[float, float]]:
    """Mean over a centred window, which does not lag; it is narrow at the steep beginning.

    Values that are not finite stay gaps.
    """
    points = binned_losses(steps)
    half = len(points) // 40
    smooth: list[tuple[float, float]] = []
    for index, (step, loss) in enumerate(points):
        reach = min(half, index)
        window = [value for _, value in points[index - reach : index + reach + 1]]
        finite = [value for value in window if math.isfinite(value)]
        smooth.append((step, sum(finite) / len(finite) if math.isfinite(loss) else math.nan))
    return smooth


def columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Points as matplotlib takes them; what is not finite becomes a gap."""
    finite_or_gap = [(x, y if math.isfinite(y) else math.nan) for x, y in points]
    return [x for x, _ in finite_or_gap], [y for _, y in finite_or_gap]
