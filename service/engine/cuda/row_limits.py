"""Limits and sums over one row of logits or weights that is read again and again from memory.

Nothing is sorted: limits are found by narrowing intervals, counting or adding up what lies above
inner points.
"""
# Triton has no types, and a kernel is not Python: its arguments are pointers and constants.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import triton
import triton.language as tl

from service.engine.weight_stages import LARGEST_WEIGHT

__all__ = [
    "count_from",
    "cut_by_top_p",
    "first_beyond",
    "last_tied_key",
    "load_logits",
    "nth_key",
    "sort_key",
    "sum_from",
]

_LARGEST = tl.constexpr(LARGEST_WEIGHT)


@triton.jit
def sort_key(values):
    """Integers in the order of floats; both zeros are one."""
    bits = tl.where(values == 0, 0.0, values).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64)


@triton.jit
def load_logits(logits, ids, vocabulary):
    return tl.load(logits + ids, mask=ids < vocabulary, other=float("-inf")).to(tl.float32)


@triton.jit
def count_from(logits, vocabulary, limit, CHUNK: tl.constexpr):
    """Tokens whose sort key is at least a limit."""
    counts = tl.zeros([CHUNK], tl.int32)
    for start in range(0, vocabulary, CHUNK):
        ids = start + tl.arange(0, CHUNK)
        keys = sort_key(load_logits(logits, ids, vocabulary))
        counts += ((keys >= limit) & (ids < vocabulary)).to(tl.int32)
    return tl.sum(counts, 0)


@triton.jit
def nth_key(logits, vocabulary, largest_key, nth, CHUNK: tl.constexpr):
    """The sort key of the nth largest logit."""
    # At least nth keys lie at or above low, fewer at or above high.
    low = tl.full([], -2147483648, tl.int64)
    high = largest_key + 1
    while high - low > 1:
        quarter = tl.maximum((high - low) // 4, 1)
        first = low + quarter
        second = tl.minimum(first + quarter, high)
        third = tl.minimum(second + quarter, high)
        firsts = tl.zeros([CHUNK], tl.int32)
        seconds = tl.zeros([CHUNK], tl.int32)
        thirds = tl.zeros([CHUNK], tl.int32)
        for start in range(0, vocabulary, CHUNK):
            ids = start + tl.arange(0, CHUNK)
            keys = sort_key(load_logits(logits, ids, vocabulary))
            is_token = ids < vocabulary
            firsts += ((keys >= first) & is_token).to(tl.int32)
            seconds += ((keys >= second) & is_token).to(tl.int32)
            thirds += ((keys >= third) & is_token).to(tl.int32)
        reaches_first = tl.sum(firsts, 0) >= nth
        reaches_second = tl.sum(seconds, 0) >= nth
        reaches_third = tl.sum(thirds, 0) >= nth
        high = tl.where(
            reaches_third,
            high,
            tl.where(reaches_second, third, tl.where(reaches_first, second, first)),
        )
        low = tl.where(
            reaches_third,
            third,
            tl.where(reaches_second, second, tl.where(reaches_first, first, low)),
        )
    return low


@triton.jit
def last_tied_key(logits, vocabulary, key, room, CHUNK: tl.constexpr):
    """The id of the last token of a sort key that is kept, when ``room`` of them are."""
    before = tl.full([], 0, tl.int32)
    last = tl.full([], -1, tl.int32)
    for start in range(0, vocabulary, CHUNK):
        ids = start + tl.arange(0, CHUNK)
        keys = sort_key(load_logits(logits, ids, vocabulary))
        tied = ((keys == key) & (ids < vocabulary)).to(tl.int32)
        ranks = before + tl.cumsum(tied, 0)
        last = tl.maximum(last, tl.max(tl.where((tied > 0) & (ranks <= room), ids, -1), 0))
        before += tl.sum(tied, 0)
    return last


@triton.jit
def sum_from(weights, vocabulary, limit, CHUNK: tl.constexpr):
    """Sum of the weights that are at least a limit."""
    sums = tl.zeros([CHUNK], tl.int64)
    for start in range(0, vocabulary, CHUNK):
        ids = start + tl.arange(0, CHUNK)
        found = tl.load(weights + ids, mask=ids < vocabulary, other=0).to(tl.int64)
        sums += tl.where(found >= limit, found, 0)
    return tl.sum(sums, 0)


@triton.jit
def cut_by_top_p(weights, vocabulary, top_p, CHUNK: tl.constexpr):
    """Set to 0 what is not among the fewest of the heaviest that reach the share."""
    share = top_p * sum_from(weights, vocabulary, 1, CHUNK).to(tl.float64)
    # The sum from low on reaches the share, that from high on does not.
    low = tl.full([], 1, tl.int64)
    high = tl.full([], _LARGEST + 1, tl.int64)
    while high - low > 1:
        middle = (low + high) // 2
        reaches = sum_from(weights, vocabulary, middle, CHUNK).to(tl.float64) >= share
        low = tl.where(reaches, middle, low)
        high = tl.where(reaches, high, middle)
    above = sum_from(weights, vocabulary, low + 1, CHUNK)
    room = tl.maximum(((share - above.to(tl.float64)) / low.to(tl.float64)).to(tl.int64) - 1, 1)
    while (above + room * low).to(tl.float64) < share:
        room += 1
    before = tl.full([], 0, tl.int64)
    for start in range(0, vocabulary, CHUNK):
        ids = start + tl.arange(0, CHUNK)
        is_token = ids < vocabulary
        found = tl.load(weights + ids, mask=is_token, other=0)
        tied = (found == low).to(tl.int32)
        ranks = before + tl.cumsum(tied, 0)
        is_kept = (found > low) | ((tied > 0) & (ranks <= room))
        tl.store(weights + ids, tl.where(is_kept, found, 0), mask=is_token)
        before += tl.sum(tied, 0)


@triton.jit
def first_beyond(weights, vocabulary, threshold, CHUNK: tl.constexpr):
    """The first id whose running sum of weights passes a threshold."""
    before = tl.full([], 0, tl.int64)
    chosen = tl.full([], 0, tl.int32)
    for start in range(0, vocabulary, CHUNK):
        ids = start + tl.arange(0, CHUNK)
        found = tl.load(weights + ids, mask=ids < vocabulary, other=0).to(tl.int64)
        after = before + tl.sum(found, 0)
        if (before <= threshold) & (after > threshold):
            running = before + tl.cumsum(found, 0)
            chosen = (start + tl.sum((running <= threshold).to(tl.int32), 0)).to(tl.int32)
        before = after
    return chosen
