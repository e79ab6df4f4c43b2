"""A histogram that is filled a request at a time: one list index per token while it streams.

What is tallied of a request becomes part of the histogram only when the request has succeeded.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["GapHistogram", "GapTally"]


class GapTally:
    """The gaps of one request, in seconds."""

    __slots__ = ("_buckets", "counts", "sum_seconds")

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum_seconds = 0.0

    def add(self, seconds: float) -> None:
        """One gap."""
        self.counts[bisect_left(self._buckets, seconds)] += 1
        self.sum_seconds += seconds


class GapHistogram(Collector):
    """The gaps of all requests, by model.

    Args:
        name: Of the series.
        description: Its help text.
        buckets: Upper bounds in seconds.
    """

    def __init__(self, name: str, description: str, buckets: Iterable[float]) -> None:
        self._name = name
        self._description = description
        self._buckets = tuple(sorted({float(bound) for bound in buckets}))
        self._totals: dict[str, GapTally] = {}

    def tally(self) -> GapTally:
        """An empty tally for one request."""
        return GapTally(self._buckets)

    def add(self, model: str, tally: GapTally) -> None:
        """Take in the gaps of a request that succeeded."""
        total = self._totals.setdefault(model, GapTally(self._buckets))
        for bucket, count in enumerate(tally.counts):
            total.counts[bucket] += count
        total.sum_seconds += tally.sum_seconds

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
            family.add_metric((model,), cumulative, total.sum_seconds)
        yield family
