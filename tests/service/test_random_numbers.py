"""The counter-based generator against its authors' known answers."""

from typing import TypeAlias

import numpy as np
import pytest

from service.engine.random_numbers import philox_4x32, random_words

Words: TypeAlias = tuple[int, int, int, int]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_answers(
    counter: Words, key: tuple[int, int], expected: Words
) -> None:
    # The same number in three columns.
    counter_4N = np.array([counter] * 3, dtype=np.uint64).T
    key_2N = np.array([key] * 3, dtype=np.uint64).T
    assert philox_4x32(counter_4N, key_2N).T.tolist() == [list(expected)] * 3


def test_every_seed_sample_and_position_has_a_number_of_its_own() -> None:
    places = [
        (seed, sample, position)
        for seed in (0, 1, 2**32, 2**64 - 1)
        for sample in (0, 1)
        for position in range(200)
    ]
    words = random_words(places)
    assert len(set(words)) == len(places)
    assert all(0 <= word < 2**32 for word in words)


def test_a_number_does_not_depend_on_those_that_are_made_with_it() -> None:
    places = [(2**64 - 1, 3, 2**33), (0, 0, 0), (5, 127, 9)]
    assert [random_words([place])[0] for place in places] == random_words(places)


def test_a_seed_out_of_range_is_refused() -> None:
    with pytest.raises(OverflowError):
        random_words([(-1, 0, 0)])
