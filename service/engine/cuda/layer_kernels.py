"""Kernels between the matrix products of a layer: norms, rotary positions, the cache, the gate.

In Triton, which comes with PyTorch's CUDA builds. Numbers are added up in f32 whatever the type of
the tensors. Shape letters: T tokens, C hidden width, H query heads, K key-value heads, D head
width, I width of the gated layer, P places of the cache.
"""
# Triton has no types, and a kernel is not Python: its arguments are pointers and constants.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from service.engine.cuda.token_places import TokenPlaces

__all__ = ["add_and_normalize", "gate", "rotate_and_store"]


@triton.jit
def _add_and_normalize(
    x, delta, weight, out, width, epsilon, HAS_DELTA: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    is_inside = columns < width
    values = tl.load(x + row * width + columns, mask=is_inside, other=0.0)
    if HAS_DELTA:
        values += tl.load(delta + row * width + columns, mask=is_inside, other=0.0)
        tl.store(x + row * width + columns, values, mask=is_inside)
    exact = values.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(exact * exact, 0) / width + epsilon)
    factors = tl.load(weight + columns, mask=is_inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + columns, exact * scale * factors, mask=is_inside)


def add_and_normalize(
    x_TC: Tensor, delta_TC: Tensor | None, weight_C: Tensor, *, epsilon: float
) -> Tensor:
    """Add ``delta_TC`` to ``x_TC`` in place; the root-mean-square norm [T, C] of the sum."""
    out_TC = torch.empty_like(x_TC)
    tokens, width = x_TC.shape
    _add_and_normalize[(tokens,)](
        x_TC,
        x_TC if delta_TC is None else delta_TC,
        weight_C,
        out_TC,
        width,
        epsilon,
        HAS_DELTA=delta_TC is not None,
        BLOCK=triton.next_power_of_2(width),
        num_warps=4 if width <= 4096 else 8,
    )
    return out_TC


@triton.jit
def _rotate_and_store(
    qkv,
    cosines,
    sines,
    positions,
    lasts,
    table_starts,
    block_ids,
    keys,
    values,
    num_places,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    HEADS_BLOCK: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    position = tl.load(positions + token)
    if position > tl.load(lasts + token):
        return
    half = WIDTH // 2
    heads = tl.arange(0, HEADS_BLOCK)[:, None]
    columns = tl.arange(0, HALF_BLOCK)[None, :]
    row = qkv + token * (HEADS + 2 * KV_HEADS) * WIDTH
    is_inside = (heads < HEADS + KV_HEADS) & (columns < half)
    first = tl.load(row + heads * WIDTH + columns, mask=is_inside, other=0.0).to(tl.float32)
    second = tl.load(row + heads * WIDTH + half + columns, mask=is_inside, other=0.0)
    second = second.to(tl.float32)
    angles = position * WIDTH + columns
    cosine = tl.load(cosines + angles, mask=columns < half, other=0.0)
    sine = tl.load(sines + angles, mask=columns < half, other=0.0)
    turned_first = first * cosine - second * sine
    turned_second = second * cosine + first * sine
    is_query = is_inside & (heads < HEADS)
    tl.store(row + heads * WIDTH + columns, turned_first, mask=is_query)
    tl.store(row + heads * WIDTH + half + columns, turned_second, mask=is_query)
    block = tl.load(block_ids + tl.load(table_starts + token) + position // BLOCK_TOKENS)
    place = block.to(tl.int64) * BLOCK_TOKENS + position % BLOCK_TOKENS
    is_key = is_inside & (heads >= HEADS)
    target = ((heads - HEADS) * num_places + place) * WIDTH + columns
    tl.store(keys + target, turned_first, mask=is_key)
    tl.store(keys + target + half, turned_second, mask=is_key)
    is_value = (heads < KV_HEADS) & (columns < half)
    source = row + (HEADS + KV_HEADS + heads) * WIDTH + columns
    target = (heads * num_places + place) * WIDTH + columns
    tl.store(values + target, tl.load(source, mask=is_value, other=0.0), mask=is_value)
    rest = tl.load(source + half, mask=is_value, other=0.0)
    tl.store(values + target + half, rest, mask=is_value)


def rotate_and_store(
    qkv: Tensor,
    tables: tuple[Tensor, Tensor],
    places: TokenPlaces,
    keys_KPD: Tensor,
    values_KPD: Tensor,
) -> None:
    """Turn queries in place by their positions, and put turned keys and values into the cache.

    Args:
        qkv: [T, (H + 2 K) * D]: queries, keys and values of each token side by side.
        tables: Cosine and sine [positions, D] in f32.
        places: Where the tokens stand; those beyond their last position are left alone.
        keys_KPD: One layer's.
        values_KPD: One layer's.
    """
    kv_heads, num_places, width = keys_KPD.shape
    heads = qkv.shape[1] // width - 2 * kv_heads
    _rotate_and_store[(qkv.shape[0],)](
        qkv,
        *tables,
        places.positions_T,
        places.lasts_T,
        places.table_starts_T,
        places.block_ids,
        keys_KPD,
        values_KPD,
        num_places,
        HEADS=heads,
        KV_HEADS=kv_heads,
        WIDTH=width,
        BLOCK_TOKENS=places.block_tokens,
        HEADS_BLOCK=triton.next_power_of_2(heads + kv_heads),
        HALF_BLOCK=triton.next_power_of_2(width // 2),
        num_warps=4,
    )


@triton.jit
def _gate(both, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_inside = columns < width
    opened = tl.load(both + row * 2 * width + columns, mask=is_inside, other=0.0).to(tl.float32)
    carried = tl.load(both + (row * 2 + 1) * width + columns, mask=is_inside, other=0.0)
    gated = opened / (1.0 + tl.exp(-opened)) * carried.to(tl.float32)
    tl.store(out + row * width + columns, gated, mask=is_inside)


def gate(both: Tensor) -> Tensor:
    """``silu(first half) * second half`` of [T, 2 I]."""
    tokens, width = both.shape[0], both.shape[1] // 2
    out_TI = torch.empty(tokens, width, dtype=both.dtype, device=both.device)
    block = min(1024, triton.next_power_of_2(width))
    _gate[(tokens, triton.cdiv(width, block))](both, out_TI, width, BLOCK=block, num_warps=4)
    return out_TI
