"""Queues: who is first is found at once, however many have left before."""

import random
from collections.abc import Iterator
from typing import SupportsIndex, overload

import pytest

from service.engine import waiting_line
from service.engine.messages import Submit
from service.engine.request import Sequence
from service.engine.waiting_line import WaitingLine


class CountingList(list[Sequence]):
    """A list that counts how often one of its items is looked at."""

    num_looks = 0

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Sequence: ...
    @overload
    def __getitem__(self, place: slice, /) -> list[Sequence]: ...
    def __getitem__(self, place: SupportsIndex | slice, /) -> Sequence | list[Sequence]:
        CountingList.num_looks += 1
        return super().__getitem__(place)

    def __iter__(self) -> Iterator[Sequence]:
        for each in super().__iter__():
            CountingList.num_looks += 1
            yield each


def new_sequences(count: int) -> list[Sequence]:
    sequences = [
        Sequence(Submit(request_id=number, prompt_ids=[1], max_tokens=1)) for number in range(count)
    ]
    for number, sequence in enumerate(sequences):
        sequence.arrival = number
    return sequences


def test_being_first_takes_the_same_time_after_many_have_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line, sequences = WaitingLine(), new_sequences(2000)
    queue = line._plain  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(queue, "_sequences", CountingList())
    for sequence in sequences:
        line.add(sequence)
    for sequence in sequences[:900]:
        line.remove(sequence)
    CountingList.num_looks = 0
    assert line.first(may_be_inspected=True) is sequences[900]
    assert 0 < CountingList.num_looks < 5
    # One who comes back is first, and leaving again looks at nobody who left long ago.
    line.add(sequences[3])
    assert line.first(may_be_inspected=True) is sequences[3]
    CountingList.num_looks = 0
    line.remove(sequences[3])
    assert 0 < CountingList.num_looks < 5
    assert line.first(may_be_inspected=True) is sequences[900]


def test_an_empty_queue_keeps_nobody() -> None:
    line, sequences = WaitingLine(), new_sequences(20)
    for sequence in sequences:
        line.add(sequence)
    for sequence in sequences:
        line.remove(sequence)
    assert not line._plain._sequences  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("seed", range(5))
def test_a_queue_is_in_order_whoever_comes_back(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(waiting_line, "_MOST_GONE", 6)
    line, chance, waiting = WaitingLine(), random.Random(seed), set[int]()
    sequences = new_sequences(60)
    for _ in range(2000):
        # The oldest mostly leave, as those do who are admitted.
        number = chance.randrange(60)
        if waiting and chance.random() < 0.4:
            number = min(waiting)
        if number in waiting:
            line.remove(sequences[number])
            waiting.remove(number)
        else:
            line.add(sequences[number])
            waiting.add(number)
        expected = [sequences[each] for each in sorted(waiting)]
        assert list(line) == expected
        assert line.first(may_be_inspected=True) is (expected[0] if expected else None)
        line.check_conservation()
