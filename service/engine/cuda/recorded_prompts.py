"""Pieces of prompts in one step, recorded once for a number of tokens and then repeated whole.

A step that has fewer tokens is filled up with tokens that are neither stored nor attended to. Shape
letters: T tokens of the step, R rows of logits.
"""

from typing import cast

import torch
from torch import Tensor

from model.kv_cache import KVCache
from service.engine.cuda.kernels import Kernels
from service.engine.cuda.network import PackedNetwork
from service.engine.cuda.prompt_words import PromptWords
from service.engine.cuda.recorded_step import Recorder
from service.engine.cuda.token_places import PromptTiles, TokenPlaces
from service.engine.executor import ComputedStep

__all__ = ["RecordedPrompts"]

_MOST_CHUNKS = 64


class RecordedPrompts:
    """Up to ``num_tokens`` tokens of up to 64 chunks, of each the logits of at most one token.

    Args:
        network: Computes the logits.
        kernels: Attend.
        kv_cache: It is written to.
        num_tokens: Of all chunks together; a multiple of 4.
        context_tokens: Longest sequence.
        recorder: Makes the step repeatable.
    """

    def __init__(
        self,
        network: PackedNetwork,
        kernels: Kernels,
        kv_cache: KVCache,
        *,
        num_tokens: int,
        context_tokens: int,
        recorder: Recorder,
    ) -> None:
        device = kv_cache.keys[0].device
        self._num_tokens = num_tokens
        self._num_chunks = min(num_tokens, _MOST_CHUNKS)
        num_tiles = (num_tokens // kernels.TILE_QUERIES + self._num_chunks + 3) // 4 * 4
        blocks_per_chunk = -(-context_tokens // kv_cache.block_tokens)
        self._sizes = [num_tokens] * 4 + [num_tiles] * 2
        self._sizes += [self._num_chunks, self._num_chunks * blocks_per_chunk]
        is_cuda = device.type == "cuda"
        self._host = torch.zeros(sum(self._sizes), dtype=torch.int32, pin_memory=is_cuda)
        self._device = torch.zeros(sum(self._sizes), dtype=torch.int32, device=device)
        self._copied = torch.cuda.Event() if is_cuda else None
        parts = cast("tuple[Tensor, ...]", self._device.split(self._sizes))
        tokens_T, positions_T, lasts_T, starts_T, firsts, counts, wanted_R, block_ids = parts
        places = TokenPlaces(
            positions_T=positions_T,
            lasts_T=lasts_T,
            table_starts_T=starts_T,
            block_ids=block_ids,
            block_tokens=kv_cache.block_tokens,
        )
        tiles = PromptTiles(firsts=firsts, counts=counts)
        self._logits_RV = torch.empty(0)

        def attend(qkv: Tensor, layer: int) -> Tensor:
            keys_KPD, values_KPD = kv_cache.keys[layer], kv_cache.values[layer]
            width = qkv.shape[1] - 2 * keys_KPD.shape[0] * keys_KPD.shape[2]
            # What is filled up must not be NaN either.
            out = torch.zeros(num_tokens, width, dtype=qkv.dtype, device=device)
            kernels.attend_prompts(qkv, keys_KPD, values_KPD, places, tiles, out)
            return out

        def run() -> None:
            hidden_TC = network.hidden_states(tokens_T, places, kv_cache, attend)
            self._logits_RV = network.logits(hidden_TC[wanted_R])

        # Nothing is stored by what is recorded.
        lasts_T.fill_(-1)
        self._repeat = recorder(run)

    def fits(self, words: PromptWords) -> bool:
        """Whether a step is no larger than this one."""
        return (
            len(words.tokens) <= self._num_tokens
            and words.num_chunks <= self._num_chunks
            and len(words.wanted) <= self._num_chunks
        )

    def compute(self, words: PromptWords) -> ComputedStep:
        """Logits of a step that fits."""
        if self._copied is not None:
            # The copy before this one has left the host's memory.
            self._copied.synchronize()
        host = self._host.numpy()
        end = 0
        parts = (*words.of_tokens(), words.firsts, words.counts, words.wanted, words.block_ids)
        fillings = (0, 0, -1, 0, 0, 0, 0, 0)
        for part, size, filling in zip(parts, self._sizes, fillings, strict=True):
            host[end : end + len(part)] = part
            # The tables are last, and nothing reads beyond what is there.
            if part is not words.block_ids:
                host[end + len(part) : end + size] = filling
            end += size
        used = end - self._sizes[-1] + len(words.block_ids)
        self._device[:used].copy_(self._host[:used], non_blocking=True)
        if self._copied is not None:
            self._copied.record()
        self._repeat()
        # A copy: the next step writes over the original.
        logits_RV = self._logits_RV[: len(words.wanted)].to(torch.float32, copy=True)
        return ComputedStep(logits_RV=logits_RV, rows=words.rows, inspected={})
