"""Drawing tokens on the device, one program a row: what `sampler.sample` does for plain rows.

The same stages in the same order on the same integers as `weight_stages.py`: top-k by logits with
the lowest ids of a tie, integer weights, top-p, min-p, then the first id whose running sum passes
the random fraction.
"""
# Triton has no types, and a kernel is not Python: its arguments are pointers and constants.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from service.engine.cuda.few_tokens import choose_among_few, put_few_aside
from service.engine.cuda.row_limits import (
    count_from,
    cut_by_top_p,
    first_beyond,
    last_tied_key,
    load_logits,
    nth_key,
    sort_key,
    sum_from,
)
from service.engine.cuda.row_state import RowState
from service.engine.cuda.weight_arithmetic import threshold_of, weights_of
from service.engine.drawn_rows import FAILED, NOT_COMPUTED
from service.engine.weight_stages import LARGEST_WEIGHT

__all__ = ["draw", "draw_scratch"]

_CHUNK = 8192
# Tokens that are compared with each other; a top-k of half as many takes that way.
_FEW = 256
_LARGEST = tl.constexpr(LARGEST_WEIGHT)
_NOT_COMPUTED = tl.constexpr(NOT_COMPUTED)
_FAILED = tl.constexpr(FAILED)


@triton.jit
def _draw(
    all_logits,
    all_scratch,
    tokens,
    positions,
    lasts,
    top_ks,
    samples,
    seeds,
    temperatures,
    top_ps,
    min_ps,
    drawn,
    vocabulary,
    scratch_width,
    CHUNK: tl.constexpr,
    FEW: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    position = tl.load(positions + row)
    if position > tl.load(lasts + row):
        tl.store(drawn + row, _NOT_COMPUTED)
        return
    logits = all_logits + row * vocabulary
    scratch = all_scratch + row * scratch_width
    maxima = tl.full([CHUNK], float("-inf"), tl.float32)
    broken = tl.zeros([CHUNK], tl.int32)
    for start in range(0, vocabulary, CHUNK):
        values = load_logits(logits, start + tl.arange(0, CHUNK), vocabulary)
        broken |= (values != values).to(tl.int32)
        maxima = tl.maximum(maxima, values)
    largest = tl.max(maxima, 0)
    is_finite = (largest > float("-inf")) & (largest < float("inf"))
    if (tl.max(broken, 0) > 0) | (is_finite == 0):
        tl.store(drawn + row, _FAILED)
        # Nothing more is computed of it.
        tl.store(lasts + row, -1)
        return

    zero = tl.full([1], 0, tl.uint32)
    counter = zero + (position + 1).to(tl.uint32)
    sample = zero + tl.load(samples + row).to(tl.uint32)
    four_words, _, _, _ = tl.philox(tl.load(seeds + row), counter, zero, sample, zero)
    word = tl.max(four_words.to(tl.int64), 0)
    temperature = tl.load(temperatures + row)
    top_k = tl.load(top_ks + row)
    top_p = tl.load(top_ps + row)
    lightest = tl.load(min_ps + row) * _LARGEST
    num_found = tl.full([], FEW + 1, tl.int32)
    if (top_k > 0) & (top_k <= FEW // 2) & (top_k < vocabulary):
        num_found = put_few_aside(logits, scratch, vocabulary, maxima, top_k, CHUNK, FEW)
    if num_found <= FEW:
        chosen = choose_among_few(
            logits, scratch, num_found, largest, temperature, top_k, top_p, lightest, word, FEW
        )
    else:
        weights = scratch + 1 + 2 * FEW
        lowest_key = tl.full([], -2147483649, tl.int64)
        last_tied = tl.full([], 2147483647, tl.int32)
        if (top_k > 0) & (top_k < vocabulary):
            largest_key = tl.max(sort_key(tl.full([1], 0.0, tl.float32) + largest), 0)
            lowest_key = nth_key(logits, vocabulary, largest_key, top_k, CHUNK)
            num_above = count_from(logits, vocabulary, lowest_key + 1, CHUNK)
            last_tied = last_tied_key(logits, vocabulary, lowest_key, top_k - num_above, CHUNK)
        for start in range(0, vocabulary, CHUNK):
            ids = start + tl.arange(0, CHUNK)
            each = load_logits(logits, ids, vocabulary)
            keys = sort_key(each)
            is_kept = (keys > lowest_key) | ((keys == lowest_key) & (ids <= last_tied))
            rounded = weights_of(each, largest, temperature)
            tl.store(weights + ids, tl.where(is_kept, rounded, 0), mask=ids < vocabulary)
        # What follows reads weights that other threads have written.
        tl.debug_barrier()
        if top_p < 1.0:
            cut_by_top_p(weights, vocabulary, top_p, CHUNK)
            tl.debug_barrier()
        if lightest > 0.0:
            for start in range(0, vocabulary, CHUNK):
                ids = start + tl.arange(0, CHUNK)
                found = tl.load(weights + ids, mask=ids < vocabulary, other=0)
                heavy = tl.where(found.to(tl.float64) < lightest, 0, found)
                tl.store(weights + ids, heavy, mask=ids < vocabulary)
            tl.debug_barrier()
        threshold = threshold_of(sum_from(weights, vocabulary, 1, CHUNK), word)
        chosen = first_beyond(weights, vocabulary, threshold, CHUNK)
    tl.store(drawn + row, chosen)
    tl.store(tokens + row, chosen)
    tl.store(positions + row, position + 1)


def draw_scratch(num_rows: int, vocabulary: int, *, device: torch.device) -> Tensor:
    """Memory that ``draw`` works in, a row for each."""
    return torch.empty(num_rows, 1 + 2 * _FEW + vocabulary, dtype=torch.int32, device=device)


def draw(logits_NV: Tensor, scratch: Tensor, state: RowState, drawn_N: Tensor) -> None:
    """Draw the next token of each row, and move the rows on to it.

    Args:
        logits_NV: Raw, of any floating type.
        scratch: Of ``draw_scratch``, for as many rows.
        state: Its tokens and positions are changed; so is the last position of a failed row.
        drawn_N: Gets the token ids, or NOT_COMPUTED or FAILED.
    """
    num_rows, vocabulary = logits_NV.shape
    _draw[(num_rows,)](
        logits_NV,
        scratch,
        state.tokens_N,
        state.positions_N,
        state.lasts_N,
        state.top_ks_N,
        state.samples_N,
        state.seeds_N,
        state.temperatures_N,
        state.top_ps_N,
        state.min_ps_N,
        drawn_N,
        vocabulary,
        scratch.shape[1],
        CHUNK=min(_CHUNK, max(_FEW, triton.next_power_of_2(vocabulary))),
        FEW=_FEW,
        num_warps=16,
    )
