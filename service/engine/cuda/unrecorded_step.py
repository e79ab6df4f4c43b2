"""A step of any chunks, started kernel by kernel; for what no recording has room for."""

from typing import cast

import numpy as np
import torch
from torch import Tensor

from model.kv_cache import KVCache
from service.engine.cuda.kernels import Kernels
from service.engine.cuda.network import PackedNetwork
from service.engine.cuda.prompt_words import PromptWords
from service.engine.cuda.token_places import PromptTiles, TokenPlaces
from service.engine.executor import ComputedStep

__all__ = ["compute_unrecorded"]


def compute_unrecorded(
    network: PackedNetwork, kernels: Kernels, kv_cache: KVCache, words: PromptWords
) -> ComputedStep:
    """Compute a step of any size."""
    device = kv_cache.keys[0].device
    parts = (*words.of_tokens(), words.firsts, words.counts, words.wanted, words.block_ids)
    # Kernels are compiled once more for addresses that are no multiples of 16 bytes.
    sizes = [-(-len(part) // 4) * 4 for part in parts]
    flat = np.zeros(sum(sizes), dtype=np.int32)
    end = 0
    for part, size in zip(parts, sizes, strict=True):
        flat[end : end + len(part)] = part
        end += size
    whole = torch.from_numpy(flat).to(device)  # pyright: ignore[reportUnknownMemberType]
    on_device = cast("tuple[Tensor, ...]", whole.split(sizes))
    tokens_T, positions_T, lasts_T, starts_T, firsts, counts, wanted_R, block_ids = (
        padded[: len(part)] for padded, part in zip(on_device, parts, strict=True)
    )
    places = TokenPlaces(
        positions_T=positions_T,
        lasts_T=lasts_T,
        table_starts_T=starts_T,
        block_ids=block_ids,
        block_tokens=kv_cache.block_tokens,
    )

    def attend(qkv: Tensor, layer: int) -> Tensor:
        keys_KPD, values_KPD = kv_cache.keys[layer], kv_cache.values[layer]
        width = qkv.shape[1] - 2 * keys_KPD.shape[0] * keys_KPD.shape[2]
        out = torch.empty(qkv.shape[0], width, dtype=qkv.dtype, device=device)
        tiles = PromptTiles(firsts=firsts, counts=counts)
        kernels.attend_prompts(qkv, keys_KPD, values_KPD, places, tiles, out)
        return out

    hidden_TC = network.hidden_states(tokens_T, places, kv_cache, attend)
    logits_RV = network.logits(hidden_TC[wanted_R])
    return ComputedStep(logits_RV=logits_RV.float(), rows=words.rows, inspected={})
