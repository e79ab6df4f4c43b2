"""One 32-bit random number for each (seed, sample, position), by counting instead of drawing.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011).
The number depends on nothing else, so a request's tokens do not depend on its neighbours, and a
page can compute it again.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["philox_4x32", "random_words"]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_ROUNDS = 10


def philox_4x32(
    counter_4N: npt.NDArray[np.uint64], key_2N: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Four random words [4, N] of N counters [4, N] and keys [2, N], all below 2^32."""
    c0, c1, c2, c3 = counter_4N
    k0, k1 = key_2N
    mask, half = np.uint64(_MASK), np.uint64(32)
    multipliers = [np.uint64(each) for each in _MULTIPLIERS]
    steps = [np.uint64(each) for each in _KEY_STEPS]
    for _ in range(_ROUNDS):
        # Two words of 32 bits multiply to one of 64.
        product_0, product_1 = multipliers[0] * c0, multipliers[1] * c2
        c0, c1, c2, c3 = (
            (product_1 >> half) ^ c1 ^ k0,
            product_1 & mask,
            (product_0 >> half) ^ c3 ^ k1,
            product_0 & mask,
        )
        k0, k1 = (k0 + steps[0]) & mask, (k1 + steps[1]) & mask
    return np.stack([c0, c1, c2, c3])


def random_words(places: Sequence[tuple[int, int, int]]) -> list[int]:
    """The numbers that choose tokens, from 0 to 2^32 - 1.

    Args:
        places: For each number the seed, from 0 to 2^64 - 1; the sample, which continuation of
            the prompt it is; and the position, where the chosen token will stand, counted from the
            start of the prompt: a text continued in two requests with one seed is the text of one.
    """
    seeds, samples, positions = (
        np.array(each, dtype=np.uint64) for each in zip(*places, strict=True)
    )
    mask, half = np.uint64(_MASK), np.uint64(32)
    counter_4N = np.stack([positions & mask, positions >> half, samples, np.zeros_like(samples)])
    words_4N = philox_4x32(counter_4N, np.stack([seeds & mask, seeds >> half]))
    return [int(word) for word in words_4N[0]]
