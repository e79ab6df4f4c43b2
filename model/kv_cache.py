"""Keys and values of the tokens already computed, one contiguous row of slots per layer.

Knows positions and slots only; who owns a slot is the scheduler's business. Shape letters as in
``transformer.py``: B rows, T new tokens, S tokens of one row so far, K key-value heads, D head
width.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from model.config import ModelConfig

__all__ = ["CachedRows", "KVCache"]


class KVCache:
    """Cache for ``num_slots`` sequences of at most ``max_tokens`` tokens each.

    A row reads the tokens that it has written and nothing else, so what an earlier owner left in
    a slot, NaN included, cannot reach a later one.

    Attributes:
        num_slots: Sequences that fit at once.
        max_tokens: Tokens that fit in one slot.
        keys: Tensor [num_slots, K, max_tokens, D] of each layer; rotated.
        values: Tensor [num_slots, K, max_tokens, D] of each layer.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        num_slots: int,
        max_tokens: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_slots = num_slots
        self.max_tokens = max_tokens
        shape = (num_slots, config.num_key_value_heads, max_tokens, config.head_dim)
        self.keys = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]

    def rows(self, slots_B: Tensor, start_positions_B: Tensor, *, num_new: int) -> "CachedRows":
        """Work out, once for all layers, where the next ``num_new`` tokens of each row go.

        Args:
            slots_B: Slot of each row; no slot twice, unless nobody reads what these rows give.
            start_positions_B: Tokens of each row that its slot already holds.
            num_new: Tokens T that each row adds.

        Raises:
            ValueError: A row would not fit its slot.
        """
        starts = cast("list[int]", start_positions_B.tolist())
        if max(starts) + num_new > self.max_tokens:
            raise ValueError(
                f"a slot holds at most {self.max_tokens} tokens, got {max(starts) + num_new}"
            )
        device = start_positions_B.device
        return CachedRows(
            kv_cache=self,
            slots_B=slots_B,
            positions_BT=start_positions_B[:, None] + torch.arange(num_new, device=device),
            slots=tuple(cast("list[int]", slots_B.tolist())),
            lengths=tuple(start + num_new for start in starts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedRows:
    """The rows of one batch in a cache.

    Attributes:
        kv_cache: The cache.
        slots_B: Slot of each row.
        positions_BT: Positions of the new tokens.
        slots: Slot of each row, again as numbers: views need them.
        lengths: Tokens S of each row, the new ones included.
    """

    kv_cache: KVCache
    slots_B: Tensor
    positions_BT: Tensor
    slots: tuple[int, ...]
    lengths: tuple[int, ...]

    def write(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> None:
        """Store the new tokens of one layer."""
        slots_BT = self.slots_B[:, None].expand_as(self.positions_BT)
        self.kv_cache.keys[layer][slots_BT, :, self.positions_BT] = k_BKTD.transpose(1, 2)
        self.kv_cache.values[layer][slots_BT, :, self.positions_BT] = v_BKTD.transpose(1, 2)

    def read(self, layer: int, row: int) -> tuple[Tensor, Tensor]:
        """Keys and values [1, K, S, D] of one row so far, as views."""
        slot, length = self.slots[row], self.lengths[row]
        keys, values = self.kv_cache.keys[layer], self.kv_cache.values[layer]
        return keys[slot : slot + 1, :, :length], values[slot : slot + 1, :, :length]
