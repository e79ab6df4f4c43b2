"""Histograms that are filled at one list index a value: for what happens at every token or step.

A tally of a request becomes part of its histogram only when the request has succeeded.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["Tally", "TallyHistogram"]


class Tally:
    """How many values fell into each bucket, and their sum."""

    __slots__ = ("_buckets", "counts", "total")

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One value."""
        self.counts[bisect_left(self._buckets, value)] += 1
        self.total += value


class TallyHistogram(Collector):
    """The values of all requests, or of all steps, by model.

    Args:
        name: Of the series.
        description: Its help text.
        buckets: Upper bounds.
    """

    def __init__(self, name: str, description: str, buckets: Iterable[float]) -> None:
        self._name = name
        self._description = description
        self._buckets = tuple(sorted({float(bound) for bound in buckets}))
        self._totals: dict[str, Tally] = {}

    def tally(self) -> Tally:
        """An empty tally for one request."""
        return Tally(self._buckets)

    def of(self, model: str) -> Tally:
        """What the series of a model is made of; a value that is added here counts at once."""
        return self._totals.setdefault(model, Tally(self._buckets))

    def add(self, model: str, tally: Tally) -> None:
        """Take in the values of a request that succeeded."""
        total = self.of(model)
        for bucket, count in enumerate(tally.counts):
            total.counts[bucket] += count
        total.total += tally.total

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The family without samples, so that no other can take its name."""
        yield HistogramMetricFamily(self._name, self._description, labels=("model",))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family with the samples of now."""
        family = HistogramMetricFamily(self._name, self._description, labels=("model",))
        bounds = [*(str(bound) for bound in self._buckets), "+Inf"]
        for model, total in list(self._totals.items()):
            running = 0
            cumulative: list[tuple[str, float]] = []
            for bound, count in zip(bounds, list(total.counts), strict=True):
                running += count
                cumulative.append((bound, running))
            family.add_metric((model,), cumulative, total.total)
        yield family
