"""How many requests of a level have missed the objective, told while it runs."""

from nextword.bench.objective import Objective
from nextword.bench.records import RequestRecord

__all__ = ["Misses"]


class Misses:
    """Counts requests that have missed the objective, each until it is known about it.

    The loop that looks takes the times too: a look must not cost more the longer a level is.

    Args:
        objective: What is missed.
        records: Those of a level, which grow.
    """

    def __init__(self, objective: Objective, records: list[RequestRecord]) -> None:
        self._objective = objective
        self._records = records
        self._num_seen = self._num_missed = 0
        self._undecided: list[RequestRecord] = []

    def count(self, now: float) -> int:
        """How many have surely missed it by now."""
        looked_at = self._undecided + self._records[self._num_seen :]
        self._num_seen = len(self._records)
        self._undecided = []
        for record in looked_at:
            if self._objective.is_surely_missed(record, now):
                self._num_missed += 1
            elif record.ended_at is None:
                self._undecided.append(record)
        return self._num_missed
