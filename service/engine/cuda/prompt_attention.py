"""Attention of pieces of prompts over block tables, in tiles of queries.

The sums go along the keys as in Dao 2023, "FlashAttention-2". Shape letters: T tokens, H query
heads, K key-value heads, D head width, P places of the cache.
"""
# Triton has no types, and a kernel is not Python: its arguments are pointers and constants.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import triton
import triton.language as tl
from torch import Tensor

from service.engine.cuda.token_places import PromptTiles, TokenPlaces

__all__ = ["TILE_QUERIES", "attend_prompts"]

TILE_QUERIES = 64
_TILE_KEYS = 64
_LOG2_E = 1.4426950408889634


@triton.jit
def _attend_prompt(
    qkv,
    keys,
    values,
    positions,
    table_starts,
    block_ids,
    tile_firsts,
    tile_counts,
    out,
    scale,
    num_places,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    WIDTH_BLOCK: tl.constexpr,
    QUERIES: tl.constexpr,
    TILE: tl.constexpr,
):
    first = tl.load(tile_firsts + tl.program_id(0)).to(tl.int64)
    count = tl.load(tile_counts + tl.program_id(0))
    if count == 0:
        return
    head = tl.program_id(1)
    kv_head = head // (HEADS // KV_HEADS)
    start = tl.load(positions + first)
    table = block_ids + tl.load(table_starts + first)
    queries = tl.arange(0, QUERIES)
    columns = tl.arange(0, WIDTH_BLOCK)
    offsets = tl.arange(0, TILE)
    is_query = (queries[:, None] < count) & (columns[None, :] < WIDTH)
    rows = (first + queries[:, None]) * (HEADS + 2 * KV_HEADS) * WIDTH + head * WIDTH
    query = tl.load(qkv + rows + columns[None, :], mask=is_query, other=0.0)
    num_keys = start + count
    maximum = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    summed = tl.zeros([QUERIES, WIDTH_BLOCK], tl.float32)
    # Tiles that all queries see as a whole need no masks.
    first_partial = (start + 1) // TILE * TILE
    is_column = columns[None, :] < WIDTH
    for tile_start in range(0, first_partial, TILE):
        key_positions = tile_start + offsets
        blocks = tl.load(table + key_positions // BLOCK_TOKENS)
        places = blocks.to(tl.int64) * BLOCK_TOKENS + key_positions % BLOCK_TOKENS
        source = (kv_head.to(tl.int64) * num_places + places[:, None]) * WIDTH + columns[None, :]
        key = tl.load(keys + source, mask=is_column, other=0.0)
        value = tl.load(values + source, mask=is_column, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        largest = tl.maximum(maximum, tl.max(scores, 1))
        weights = tl.exp2(scores - largest[:, None])
        shrink = tl.exp2(maximum - largest)
        total = total * shrink + tl.sum(weights, 1)
        summed = summed * shrink[:, None]
        summed += tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        maximum = largest
    for tile_start in range(first_partial, num_keys, TILE):
        key_positions = tile_start + offsets
        is_own = key_positions < num_keys
        blocks = tl.load(table + key_positions // BLOCK_TOKENS, mask=is_own, other=0)
        places = blocks.to(tl.int64) * BLOCK_TOKENS + key_positions % BLOCK_TOKENS
        source = (kv_head.to(tl.int64) * num_places + places[:, None]) * WIDTH + columns[None, :]
        is_value = is_own[:, None] & is_column
        key = tl.load(keys + source, mask=is_value, other=0.0)
        value = tl.load(values + source, mask=is_value, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        is_seen = is_own[None, :] & (key_positions[None, :] <= start + queries[:, None])
        # The first tile holds position 0, which all queries see: the maximum is finite after it.
        scores = tl.where(is_seen, scores, float("-inf"))
        largest = tl.maximum(maximum, tl.max(scores, 1))
        weights = tl.exp2(scores - largest[:, None])
        shrink = tl.exp2(maximum - largest)
        total = total * shrink + tl.sum(weights, 1)
        summed = summed * shrink[:, None]
        summed += tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        maximum = largest
    target = (first + queries[:, None]) * HEADS * WIDTH + head * WIDTH + columns[None, :]
    tl.store(out + target, summed / total[:, None], mask=is_query)


def attend_prompts(
    qkv: Tensor,
    keys_KPD: Tensor,
    values_KPD: Tensor,
    places: TokenPlaces,
    tiles: PromptTiles,
    out: Tensor,
) -> None:
    """Write what the tokens of all tiles attend to into their rows of ``out`` [T, H * D]."""
    kv_heads, num_places, width = keys_KPD.shape
    heads = qkv.shape[1] // width - 2 * kv_heads
    _attend_prompt[(tiles.firsts.shape[0], heads)](
        qkv,
        keys_KPD,
        values_KPD,
        places.positions_T,
        places.table_starts_T,
        places.block_ids,
        tiles.firsts,
        tiles.counts,
        out,
        width**-0.5 * _LOG2_E,
        num_places,
        HEADS=heads,
        KV_HEADS=kv_heads,
        WIDTH=width,
        BLOCK_TOKENS=places.block_tokens,
        WIDTH_BLOCK=max(16, triton.next_power_of_2(width)),
        QUERIES=TILE_QUERIES,
        TILE=_TILE_KEYS,
        num_warps=4,
        num_stages=2,
    )
