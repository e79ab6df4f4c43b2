"""One 32-bit random number for each (seed, sample, position), by counting instead of drawing.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011).
The number depends on nothing else, so a request's tokens do not depend on its neighbours, and a
page can compute it again.
"""

__all__ = ["philox_4x32", "random_word"]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_ROUNDS = 10


def philox_4x32(
    counter: tuple[int, int, int, int], key: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Four random words of a counter and a key, all of 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product_0 = _MULTIPLIERS[0] * c0
        product_1 = _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product_1 >> 32) ^ c1 ^ k0,
            product_1 & _MASK,
            (product_0 >> 32) ^ c3 ^ k1,
            product_0 & _MASK,
        )
        k0 = (k0 + _KEY_STEPS[0]) & _MASK
        k1 = (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3


def random_word(seed: int, *, sample_index: int, position: int) -> int:
    """The number that chooses a token, from 0 to 2^32 - 1.

    Args:
        seed: From 0 to 2^64 - 1.
        sample_index: Which continuation of the prompt.
        position: Where the chosen token will stand, counted from the start of the prompt: a text
            continued in two requests with one seed is the text of one request.
    """
    counter = (position & _MASK, position >> 32, sample_index, 0)
    return philox_4x32(counter, (seed & _MASK, seed >> 32))[0]
