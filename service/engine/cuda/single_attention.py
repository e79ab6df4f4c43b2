"""Attention of single tokens over block tables, in place: keys and values are not gathered first.

The keys of a row are shared out among several programs (Dao et al. 2023, "Flash-Decoding"). What
lies beyond a row's own tokens is never multiplied. Shape letters: T tokens, H query heads, K
key-value heads, D head width, P places of the cache.
"""
# Triton has no types, and a kernel is not Python: its arguments are pointers and constants.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from service.engine.cuda.token_places import TokenPlaces

__all__ = ["attend_single_tokens"]

_TILE_KEYS = 32
# Programs that keep the device busy while each waits for memory.
_WANTED_PROGRAMS = 264
_MOST_PARTS = 32
_LOG2_E = 1.4426950408889634


@triton.jit(do_not_specialize=["num_parts"])
def _attend_single(
    qkv,
    keys,
    values,
    positions,
    lasts,
    table_starts,
    block_ids,
    out,
    part_sums,
    part_maxima,
    scale,
    num_places,
    num_parts,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    IS_WHOLE: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    WIDTH_BLOCK: tl.constexpr,
    TILE: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    part = tl.program_id(2)
    position = tl.load(positions + token)
    num_keys = position + 1
    if position > tl.load(lasts + token):
        num_keys = 0
    group = HEADS // KV_HEADS
    heads = tl.arange(0, GROUP_BLOCK)
    columns = tl.arange(0, WIDTH_BLOCK)
    offsets = tl.arange(0, TILE)
    is_query = (heads[:, None] < group) & (columns[None, :] < WIDTH)
    head_places = (kv_head * group + heads[:, None]) * WIDTH + columns[None, :]
    query = tl.load(
        qkv + token * (HEADS + 2 * KV_HEADS) * WIDTH + head_places, mask=is_query, other=0.0
    )
    table = block_ids + tl.load(table_starts + token)
    num_tiles = tl.cdiv(num_keys, TILE)
    tiles_each = tl.cdiv(num_tiles, num_parts)
    first_tile = part * tiles_each
    end_tile = tl.minimum(first_tile + tiles_each, num_tiles)
    maximum = tl.full([GROUP_BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_BLOCK], tl.float32)
    summed = tl.zeros([GROUP_BLOCK, WIDTH_BLOCK], tl.float32)
    for tile in range(first_tile, end_tile):
        key_positions = tile * TILE + offsets
        is_own = key_positions < num_keys
        blocks = tl.load(table + key_positions // BLOCK_TOKENS, mask=is_own, other=0)
        places = blocks.to(tl.int64) * BLOCK_TOKENS + key_positions % BLOCK_TOKENS
        source = (kv_head.to(tl.int64) * num_places + places[:, None]) * WIDTH + columns[None, :]
        is_value = is_own[:, None] & (columns[None, :] < WIDTH)
        key = tl.load(keys + source, mask=is_value, other=0.0)
        value = tl.load(values + source, mask=is_value, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        scores = tl.where(is_own[None, :], scores, float("-inf"))
        largest = tl.maximum(maximum, tl.max(scores, 1))
        weights = tl.exp2(scores - largest[:, None])
        shrink = tl.exp2(maximum - largest)
        total = total * shrink + tl.sum(weights, 1)
        summed = summed * shrink[:, None]
        summed += tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        maximum = largest
    if IS_WHOLE:
        target = out + token * HEADS * WIDTH + head_places
        divisor = tl.where(total > 0, total, 1.0)
        tl.store(target, summed / divisor[:, None], mask=is_query)
    else:
        flat = (token * HEADS + kv_head * group + heads) * num_parts + part
        is_head = heads < group
        tl.store(part_maxima + flat * 2, maximum, mask=is_head)
        tl.store(part_maxima + flat * 2 + 1, total, mask=is_head)
        tl.store(part_sums + flat[:, None] * WIDTH + columns[None, :], summed, mask=is_query)


@triton.jit(do_not_specialize=["num_parts"])
def _join_parts(
    part_sums,
    part_maxima,
    out,
    num_parts,
    WIDTH: tl.constexpr,
    PARTS_BLOCK: tl.constexpr,
    WIDTH_BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    parts = tl.arange(0, PARTS_BLOCK)
    columns = tl.arange(0, WIDTH_BLOCK)
    is_part = parts < num_parts
    flat = row * num_parts + parts
    maxima = tl.load(part_maxima + flat * 2, mask=is_part, other=float("-inf"))
    totals = tl.load(part_maxima + flat * 2 + 1, mask=is_part, other=0.0)
    largest = tl.max(maxima, 0)
    # A row without keys has no maximum, and gives 0.
    shares = tl.where(totals > 0, tl.exp2(maxima - largest), 0.0)
    is_inside = is_part[:, None] & (columns[None, :] < WIDTH)
    source = part_sums + flat[:, None] * WIDTH + columns[None, :]
    sums = tl.load(source, mask=is_inside, other=0.0)
    total = tl.sum(totals * shares, 0)
    joined = tl.sum(sums * shares[:, None], 0) / tl.where(total > 0, total, 1.0)
    tl.store(out + row * WIDTH + columns, joined, mask=columns < WIDTH)


def attend_single_tokens(
    qkv: Tensor, keys_KPD: Tensor, values_KPD: Tensor, places: TokenPlaces, *, max_keys: int
) -> Tensor:
    """What one token of each row attends to, [T, H * D]; 0 for rows that are not used.

    Args:
        qkv: [T, (H + 2 K) * D], of which the turned queries are read.
        keys_KPD: One layer's, the new tokens included.
        values_KPD: One layer's, likewise.
        places: Where the tokens stand.
        max_keys: Of the longest row that can come; it decides how far a row is cut up.
    """
    kv_heads, num_places, width = keys_KPD.shape
    heads = qkv.shape[1] // width - 2 * kv_heads
    tokens, device = qkv.shape[0], qkv.device
    most_parts = min(_MOST_PARTS, triton.cdiv(max_keys, _TILE_KEYS))
    num_parts = max(1, min(most_parts, _WANTED_PROGRAMS // (tokens * kv_heads)))
    out = torch.empty(tokens, heads * width, dtype=qkv.dtype, device=device)
    is_whole = num_parts == 1
    size = 0 if is_whole else tokens * heads * num_parts
    part_sums = torch.empty(size, width, dtype=torch.float32, device=device)
    part_maxima = torch.empty(size, 2, dtype=torch.float32, device=device)
    _attend_single[(tokens, kv_heads, num_parts)](
        qkv,
        keys_KPD,
        values_KPD,
        places.positions_T,
        places.lasts_T,
        places.table_starts_T,
        places.block_ids,
        out,
        part_sums,
        part_maxima,
        width**-0.5 * _LOG2_E,
        num_places,
        num_parts,
        HEADS=heads,
        KV_HEADS=kv_heads,
        WIDTH=width,
        BLOCK_TOKENS=places.block_tokens,
        IS_WHOLE=is_whole,
        GROUP_BLOCK=max(16, triton.next_power_of_2(heads // kv_heads)),
        WIDTH_BLOCK=max(16, triton.next_power_of_2(width)),
        TILE=_TILE_KEYS,
        num_warps=2,
        num_stages=3,
    )
    if not is_whole:
        _join_parts[(tokens * heads,)](
            part_sums,
            part_maxima,
            out,
            num_parts,
            WIDTH=width,
            PARTS_BLOCK=triton.next_power_of_2(num_parts),
            WIDTH_BLOCK=max(16, triton.next_power_of_2(width)),
            num_warps=1,
        )
    return out
