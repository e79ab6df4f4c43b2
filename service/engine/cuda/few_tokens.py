"""Top-k of a row by first looking for the few tokens that can be among them.

The largest logits of many parts of the row tell a limit that at least k logits reach, and not many
more. What reaches it is put aside; there every token is compared with every other one, which gives
ranks, ties and running sums without sorting. Scratch of a row: a counter, then FEW ids, then FEW
weights.
"""
# Triton has no types, and a kernel is not Python: its arguments are pointers and constants.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import triton
import triton.language as tl

from service.engine.cuda.row_limits import load_logits, sort_key
from service.engine.cuda.weight_arithmetic import threshold_of, weights_of

__all__ = ["choose_among_few", "put_few_aside"]

_OTHERS = tl.constexpr(32)


@triton.jit
def put_few_aside(
    logits, scratch, vocabulary, lane_maxima, top_k, CHUNK: tl.constexpr, FEW: tl.constexpr
):
    """Put ids of all tokens aside that the limit lets through, if they are few; their number.

    ``lane_maxima`` [CHUNK] holds the largest logit of every CHUNK-th token. Half of a sort key's
    bits are enough for a limit.
    """
    is_lane = tl.arange(0, CHUNK) < vocabulary
    lane_keys = (sort_key(lane_maxima) >> 16).to(tl.int32)
    # At least top_k lanes lie at or above low, fewer at or above high.
    low = tl.full([], -32768, tl.int32)
    high = tl.full([], 32768, tl.int32)
    while high - low > 1:
        quarter = tl.maximum((high - low) // 4, 1)
        first = low + quarter
        second = tl.minimum(first + quarter, high)
        third = tl.minimum(second + quarter, high)
        # Three counts of up to 2^20 in one sum.
        ones = (is_lane & (lane_keys >= first)).to(tl.int64)
        ones += (is_lane & (lane_keys >= second)).to(tl.int64) << 21
        ones += (is_lane & (lane_keys >= third)).to(tl.int64) << 42
        counts = tl.sum(ones, 0)
        reaches_first = (counts & 0x1FFFFF) >= top_k
        reaches_second = ((counts >> 21) & 0x1FFFFF) >= top_k
        reaches_third = (counts >> 42) >= top_k
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
    tl.atomic_xchg(scratch, 0)
    tl.debug_barrier()
    counters = scratch + tl.zeros([CHUNK], tl.int32)
    for start in range(0, vocabulary, CHUNK):
        ids = start + tl.arange(0, CHUNK)
        keys = (sort_key(load_logits(logits, ids, vocabulary)) >> 16).to(tl.int32)
        is_found = (keys >= low) & (ids < vocabulary)
        places = tl.atomic_add(counters, 1, mask=is_found)
        tl.store(scratch + 1 + places, ids, mask=is_found & (places < FEW))
    tl.debug_barrier()
    return tl.atomic_add(scratch, 0)


@triton.jit
def choose_among_few(
    logits,
    scratch,
    num_found,
    largest,
    temperature,
    top_k,
    top_p,
    lightest,
    word,
    FEW: tl.constexpr,
):
    """The id that the random word chooses among the tokens put aside, after all cuts."""
    places = tl.arange(0, FEW)
    others = tl.arange(0, _OTHERS)
    is_found = places < num_found
    found_weights = scratch + 1 + FEW
    ids = tl.load(scratch + 1 + places, mask=is_found, other=0)
    values = tl.load(logits + ids, mask=is_found, other=float("-inf")).to(tl.float32)
    keys = sort_key(values)
    ranks = tl.zeros([FEW], tl.int32)
    for start in range(0, num_found, _OTHERS):
        is_other = start + others < num_found
        other_ids = tl.load(scratch + 1 + start + others, mask=is_other, other=0)
        other_values = tl.load(logits + other_ids, mask=is_other, other=0.0).to(tl.float32)
        other_keys = sort_key(other_values)
        is_before = other_keys[None, :] > keys[:, None]
        is_before |= (other_keys[None, :] == keys[:, None]) & (other_ids[None, :] < ids[:, None])
        ranks += tl.sum((is_before & is_other[None, :]).to(tl.int32), 1)
    weights = weights_of(values, largest, temperature)
    weights = tl.where(is_found & (ranks < top_k), weights, 0)
    tl.store(found_weights + places, weights, mask=is_found)
    # What follows reads weights that other threads have written.
    tl.debug_barrier()
    if top_p < 1.0:
        share = top_p * tl.sum(weights.to(tl.int64), 0).to(tl.float64)
        heavier = tl.zeros([FEW], tl.int64)
        for start in range(0, num_found, _OTHERS):
            is_other = start + others < num_found
            other_ids = tl.load(scratch + 1 + start + others, mask=is_other, other=0)
            other_weights = tl.load(found_weights + start + others, mask=is_other, other=0)
            is_before = other_weights[None, :] > weights[:, None]
            is_tied = other_weights[None, :] == weights[:, None]
            is_before |= is_tied & (other_ids[None, :] < ids[:, None])
            heavier += tl.sum(tl.where(is_before, other_weights[None, :], 0).to(tl.int64), 1)
        is_kept = (heavier.to(tl.float64) < share) | (heavier == 0)
        weights = tl.where(is_kept, weights, 0)
    weights = tl.where(weights.to(tl.float64) < lightest, 0, weights)
    tl.debug_barrier()
    tl.store(found_weights + places, weights, mask=is_found)
    tl.debug_barrier()
    threshold = threshold_of(tl.sum(weights.to(tl.int64), 0), word)
    running = tl.zeros([FEW], tl.int64)
    for start in range(0, num_found, _OTHERS):
        is_other = start + others < num_found
        other_ids = tl.load(scratch + 1 + start + others, mask=is_other, other=0)
        other_weights = tl.load(found_weights + start + others, mask=is_other, other=0)
        is_up_to = other_ids[None, :] <= ids[:, None]
        running += tl.sum(tl.where(is_up_to, other_weights[None, :], 0).to(tl.int64), 1)
    return tl.min(tl.where(is_found & (running > threshold), ids, 2147483647), 0)
