"""The sequences that wait for blocks, in the order of arrival. Torch-free.

Those that want more than tokens have a queue of their own: while enough of them are computed, it is
not looked at, however long it is.
"""

import bisect
import itertools
import operator
from collections.abc import Iterator

from service.engine.block_allocator import ConservationError
from service.engine.request import Sequence

__all__ = ["WaitingLine", "check_arrivals", "insert_by_arrival"]

_arrival = operator.attrgetter("arrival")


class WaitingLine:
    """Sequences without blocks."""

    def __init__(self) -> None:
        self._plain: list[Sequence] = []
        self._inspected: list[Sequence] = []

    def __iter__(self) -> Iterator[Sequence]:
        """All of them, those that want only tokens first."""
        return itertools.chain(self._plain, self._inspected)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._queue_of(sequence)

    def first(self, *, may_be_inspected: bool) -> Sequence | None:
        """The oldest that is not paused; None when there is none.

        Args:
            may_be_inspected: Whether those that want more than tokens are looked at.
        """
        queues = (self._plain, self._inspected) if may_be_inspected else (self._plain,)
        heads = [next((each for each in queue if not each.is_paused), None) for queue in queues]
        return min((head for head in heads if head is not None), key=_arrival, default=None)

    def add(self, sequence: Sequence) -> None:
        """Put a sequence at the place of its arrival."""
        insert_by_arrival(self._queue_of(sequence), sequence)

    def remove(self, sequence: Sequence) -> None:
        """Drop one that is here."""
        self._queue_of(sequence).remove(sequence)

    def check_conservation(self) -> None:
        """Raise ConservationError unless each is in its queue, in order."""
        for queue in (self._plain, self._inspected):
            check_arrivals(queue)
            if any(self._queue_of(sequence) is not queue for sequence in queue):
                raise ConservationError("a sequence is in the wrong queue")

    def _queue_of(self, sequence: Sequence) -> list[Sequence]:
        return self._inspected if sequence.is_inspected else self._plain


def insert_by_arrival(sequences: list[Sequence], sequence: Sequence) -> None:
    """Put a sequence at its place among others in the order of arrival."""
    bisect.insort(sequences, sequence, key=_arrival)


def check_arrivals(sequences: list[Sequence]) -> None:
    """Raise ConservationError unless sequences are in the order of arrival."""
    if sorted(sequences, key=_arrival) != sequences:
        raise ConservationError("a queue is out of order")
