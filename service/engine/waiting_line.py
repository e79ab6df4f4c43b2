"""The sequences that wait for blocks, in the order of arrival. Torch-free.

Those that want more than tokens have a queue of their own: while enough of them are computed, it is
not looked at, however long it is. Coming, leaving and being first take the same time in a queue of
a hundred thousand as in one of ten.
"""

import bisect
import itertools
import operator
from collections.abc import Iterator

from service.engine.block_allocator import ConservationError
from service.engine.request import Sequence

__all__ = ["WaitingLine", "check_arrivals", "insert_by_arrival"]

_arrival = operator.attrgetter("arrival")


# Sequences that have left and still stand in a queue, at least, before it is tidied up.
_MOST_GONE = 64


class _Queue:
    """Sequences in the order of arrival; those that have left are passed over."""

    def __init__(self) -> None:
        self._sequences: list[Sequence] = []
        # All before it have left.
        self._first = 0
        self.num_waiting = 0

    def __iter__(self) -> Iterator[Sequence]:
        # An `islice` would walk over all who have left.
        places = range(self._first, len(self._sequences))
        return (each for each in map(self._sequences.__getitem__, places) if each.is_waiting)

    def add(self, sequence: Sequence) -> None:
        sequences = self._sequences
        sequence.is_waiting = True
        self.num_waiting += 1
        if not sequences or sequences[-1].arrival < sequence.arrival:
            sequences.append(sequence)
            return
        first = self._first
        place = bisect.bisect_left(sequences, sequence.arrival, lo=first, key=_arrival)
        if place == first > 0:
            # The place before is that of one who has left.
            self._first -= 1
            sequences[self._first] = sequence
        elif place == len(sequences) or sequences[place] is not sequence:
            sequences.insert(place, sequence)

    def remove(self, sequence: Sequence) -> None:
        sequence.is_waiting = False
        self.num_waiting -= 1
        sequences = self._sequences
        while self._first < len(sequences) and not sequences[self._first].is_waiting:
            self._first += 1
        if not self.num_waiting or len(sequences) > 2 * self.num_waiting + _MOST_GONE:
            self._sequences = list(self)
            self._first = 0


class WaitingLine:
    """Sequences without blocks."""

    def __init__(self) -> None:
        self._plain = _Queue()
        self._inspected = _Queue()

    def __len__(self) -> int:
        return self._plain.num_waiting + self._inspected.num_waiting

    def __iter__(self) -> Iterator[Sequence]:
        """All of them, those that want only tokens first."""
        return itertools.chain(self._plain, self._inspected)

    def first(self, *, may_be_inspected: bool) -> Sequence | None:
        """The oldest that is not paused; None when there is none.

        Args:
            may_be_inspected: Whether those that want more than tokens are looked at.
        """
        if not self:
            return None
        queues = (self._plain, self._inspected) if may_be_inspected else (self._plain,)
        heads = [next((each for each in queue if not each.is_paused), None) for queue in queues]
        return min((head for head in heads if head is not None), key=_arrival, default=None)

    def add(self, sequence: Sequence) -> None:
        """Put a sequence at the place of its arrival."""
        self._queue_of(sequence).add(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Drop one that is here."""
        self._queue_of(sequence).remove(sequence)

    def check_conservation(self) -> None:
        """Raise ConservationError unless each is in its queue, in order."""
        for queue in (self._plain, self._inspected):
            waiting = list(queue)
            check_arrivals(waiting)
            if len(waiting) != queue.num_waiting or len(set(map(id, waiting))) != len(waiting):
                raise ConservationError("a queue has lost count")
            if any(self._queue_of(sequence) is not queue for sequence in waiting):
                raise ConservationError("a sequence is in the wrong queue")

    def _queue_of(self, sequence: Sequence) -> _Queue:
        return self._inspected if sequence.is_inspected else self._plain


def insert_by_arrival(sequences: list[Sequence], sequence: Sequence) -> None:
    """Put a sequence at its place among others in the order of arrival."""
    bisect.insort(sequences, sequence, key=_arrival)


def check_arrivals(sequences: list[Sequence]) -> None:
    """Raise ConservationError unless sequences are in the order of arrival."""
    if sorted(sequences, key=_arrival) != sequences:
        raise ConservationError("a queue is out of order")
