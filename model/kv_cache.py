"""Keys and values of the tokens already computed, in blocks that rows address by tables.

Knows blocks and positions only; who owns a block is the scheduler's business, and reading is
`paged_attention.py`'s. Shape letters as in ``transformer.py``; P places of the pool (blocks times
tokens of a block).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import ModelConfig

__all__ = ["CacheRow", "KVCache"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRow:
    """Some new tokens of one sequence.

    Attributes:
        block_ids: Blocks of the sequence in the order of its positions; they reach at least to the
            last new token. More than one sequence may read a block; one that is written to must be
            in one row of a batch only.
        start: Tokens of the sequence that are in the cache already.
        num_new: Tokens to add, at least one.
    """

    block_ids: Sequence[int]
    start: int
    num_new: int


class KVCache:
    """A pool of ``num_blocks`` blocks of ``block_tokens`` tokens, for all layers.

    Attributes:
        num_blocks: Blocks.
        block_tokens: Tokens in a block.
        keys: Tensor [K, P, D] of each layer; rotated.
        values: Tensor [K, P, D] of each layer.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_blocks: int,
        block_tokens: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, got {num_blocks}")
        if block_tokens < 1:
            raise ValueError(f"block_tokens must be at least 1, got {block_tokens}")
        self.num_blocks = num_blocks
        self.block_tokens = block_tokens
        shape = (config.num_key_value_heads, num_blocks * block_tokens, config.head_dim)
        self.keys = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]

    @property
    def num_bytes(self) -> int:
        """Memory of the pool."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values))

    def places(self, row: CacheRow) -> list[int]:
        """Where the new tokens of a row go in the pool.

        Raises:
            ValueError: The table is too short, or names a block that does not exist.
        """
        end = row.start + row.num_new
        if row.start < 0 or row.num_new < 1:
            raise ValueError(f"a row needs new tokens, got {row.num_new} from {row.start} on")
        if end > len(row.block_ids) * self.block_tokens:
            raise ValueError(
                f"{len(row.block_ids)} blocks hold {len(row.block_ids) * self.block_tokens} "
                f"tokens, got {end}"
            )
        for block_id in row.block_ids:
            if not 0 <= block_id < self.num_blocks:
                raise ValueError(f"block ids must lie in 0..{self.num_blocks - 1}, got {block_id}")
        return [
            row.block_ids[position // self.block_tokens] * self.block_tokens
            + position % self.block_tokens
            for position in range(row.start, end)
        ]

    def write(self, layer: int, places_N: Tensor, keys_KND: Tensor, values_KND: Tensor) -> None:
        """Store the new tokens of one layer at the places of the pool."""
        self.keys[layer].index_copy_(1, places_N, keys_KND)
        self.values[layer].index_copy_(1, places_N, values_KND)

    def clear(self, block_ids: Iterable[int]) -> None:
        """Write zeros over some blocks, in all layers."""
        ids = torch.tensor(sorted(set(block_ids)), dtype=torch.long, device=self.keys[0].device)
        for tensor in (*self.keys, *self.values):
            heads, _, width = tensor.shape
            blocks = tensor.view(heads, self.num_blocks, self.block_tokens, width)
            blocks.index_fill_(1, ids, 0)
