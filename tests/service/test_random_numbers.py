"""The counter-based generator against its authors' known answers."""

from typing import TypeAlias

import pytest

from service.engine.random_numbers import philox_4x32, random_word

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
    assert philox_4x32(counter, key) == expected


def test_every_seed_sample_and_position_has_a_number_of_its_own() -> None:
    words = {
        random_word(seed, sample_index=sample, position=position)
        for seed in (0, 1, 2**32, 2**64 - 1)
        for sample in (0, 1)
        for position in range(200)
    }
    assert len(words) == 4 * 2 * 200
