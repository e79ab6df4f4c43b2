"""The reference executor: the network in plain eager torch, on any device, over a paged cache.

One forward pass per step: pieces of prompts and single tokens stand one after another in one row.
"""

from collections.abc import Sequence

import torch

from model.kv_cache import CacheRow, KVCache
from model.paged_attention import CachedBatch
from model.transformer import Transformer
from service.engine.batch_invariance import is_batch_invariant
from service.engine.executor import (
    ChunkInput,
    ComputedStep,
    InspectedChunk,
    LogitsWanted,
    NotDeterministicError,
)

__all__ = ["DEFAULT_BLOCK_TOKENS", "EagerExecutor"]

DEFAULT_BLOCK_TOKENS = 16
# f32 products on a CPU give a row the same bits for every number of rows that is a multiple of
# this (docs/decisions/0035-the-same-bits-in-any-batch.md).
DETERMINISTIC_ROWS = 4


class EagerExecutor:
    """A transformer with its cache.

    Args:
        model: In evaluation mode, on its device.
        num_blocks: Blocks of the cache.
        block_tokens: Tokens of a block; divides 64.
        deterministic: Whether rows must not depend on their neighbours. None is yes where that
            is cheap, in f32 on a CPU, and a trial with this model shows that it holds.

    Attributes:
        kv_cache: The cache.

    Raises:
        NotDeterministicError: ``deterministic`` is true and the trial fails.
    """

    name = "eager"

    def __init__(
        self,
        model: Transformer,
        *,
        num_blocks: int,
        block_tokens: int = DEFAULT_BLOCK_TOKENS,
        deterministic: bool | None = None,
    ) -> None:
        assert not model.training, "dropout would disturb every logit"
        weight = model.output_weight
        self._model = model
        self._device = weight.device
        self.kv_cache = KVCache(
            model.config,
            num_blocks=num_blocks,
            block_tokens=block_tokens,
            dtype=weight.dtype,
            device=weight.device,
        )
        is_cheap = self._device.type == "cpu" and weight.dtype == torch.float32
        self.is_deterministic = False
        if deterministic or (deterministic is None and is_cheap):
            self.is_deterministic = is_batch_invariant(model, row_multiple=DETERMINISTIC_ROWS)
        if deterministic and not self.is_deterministic:
            raise NotDeterministicError(
                "deterministic mode is not to be had here: with "
                f"{str(weight.dtype).removeprefix('torch.')} on {self._device} a row's bits "
                "depend on how many rows are computed with it"
            )

    @property
    def has_fixed_steps(self) -> bool:
        """In deterministic mode: rows were tried in some numbers, not in all."""
        return self.is_deterministic

    @property
    def network(self) -> Transformer:
        """The network that computes the logits."""
        return self._model

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache, numbered from 0."""
        return self.kv_cache.num_blocks

    @property
    def block_tokens(self) -> int:
        """Tokens of a block."""
        return self.kv_cache.block_tokens

    @property
    def kv_cache_bytes(self) -> int:
        """Memory of the cache."""
        return self.kv_cache.num_bytes

    @torch.inference_mode()
    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """Compute some chunks, at most one of each sequence, in one step.

        Raises:
            ValueError: A chunk does not fit its blocks or the model's context.
        """
        row_multiple = DETERMINISTIC_ROWS if self.is_deterministic else 1
        all_layers = range(self._model.config.num_hidden_layers)
        token_ids = [token_id for chunk in chunks for token_id in chunk.token_ids]
        token_ids += [0] * (-len(token_ids) % row_multiple)
        batch = CachedBatch(
            self.kv_cache,
            [
                CacheRow(block_ids=chunk.block_ids, start=chunk.start, num_new=len(chunk.token_ids))
                for chunk in chunks
            ],
            num_padded=len(token_ids),
            query_multiple=row_multiple,
            inspected_rows={
                place: all_layers if chunk.attention_layers is None else chunk.attention_layers
                for place, chunk in enumerate(chunks)
                if chunk.is_inspected
            },
        )
        hidden_NC = self._model.hidden_states(
            torch.tensor([token_ids], device=self._device), cached=batch
        )[0]
        places, rows = _wanted(chunks)
        places += [0] * (-len(places) % row_multiple)
        wanted = torch.tensor(places, dtype=torch.long, device=self._device)
        logits_RV = self._model.logits(hidden_NC[wanted])
        return ComputedStep(
            logits_RV=logits_RV[: rows[-1].stop].float(),
            rows=rows,
            inspected={
                place: InspectedChunk(
                    hidden_states=torch.stack(hidden_states).float(),
                    attention=batch.attention[place],
                )
                for place, hidden_states in batch.hidden_states.items()
            },
        )

    @torch.inference_mode()
    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        """Forget what some blocks hold, NaN included."""
        self.kv_cache.clear(block_ids)


def _wanted(chunks: Sequence[ChunkInput]) -> tuple[list[int], list[slice]]:
    """Among the new tokens those whose logits are wanted, and which of these each chunk owns."""
    places: list[int] = []
    rows: list[slice] = []
    end = 0
    for chunk in chunks:
        first, end = end, end + len(chunk.token_ids)
        num_before = len(places)
        match chunk.logits:
            case LogitsWanted.NONE:
                pass
            case LogitsWanted.LAST:
                places.append(end - 1)
            case LogitsWanted.ALL:
                places += range(first, end)
        rows.append(slice(num_before, len(places)))
    return places, rows
