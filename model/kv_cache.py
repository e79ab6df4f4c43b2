"""Keys and values of the tokens already computed, one contiguous row of slots per layer.

Knows positions and slots only; who owns a slot is the scheduler's business. Shape letters as in
``transformer.py``: B rows, T new tokens, S cached tokens, K key-value heads, D head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import ModelConfig

__all__ = ["CachedRows", "KVCache"]


class KVCache:
    """Cache for ``num_slots`` sequences of at most ``max_tokens`` tokens each.

    A slot is handed to its next owner by ``clear_slot``: what the mask hides still enters the
    weighted sum of attention with weight 0, and 0 times NaN is NaN.

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
        # Zeros, not uninitialised memory, for the same reason as in clear_slot.
        self.keys = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]

    def clear_slot(self, slot: int) -> None:
        """Write zeros over a slot, so that nothing of its last owner reaches the next one."""
        with torch.inference_mode():
            for tensor in (*self.keys, *self.values):
                tensor[slot].zero_()

    def rows(self, slots_B: Tensor, start_positions_B: Tensor, *, num_new: int) -> "CachedRows":
        """Work out where the next ``num_new`` tokens of each row go and what they may see.

        Args:
            slots_B: Slot of each row; no slot twice, unless it is one that nobody reads.
            start_positions_B: Tokens of each row that the cache already holds.
            num_new: Tokens T that each row adds.

        Raises:
            ValueError: A row would not fit its slot.
        """
        num_tokens = int(start_positions_B.max()) + num_new
        if num_tokens > self.max_tokens:
            raise ValueError(f"a slot holds at most {self.max_tokens} tokens, got {num_tokens}")
        device = start_positions_B.device
        positions_BT = start_positions_B[:, None] + torch.arange(num_new, device=device)
        key_positions_S = torch.arange(num_tokens, device=device)
        return CachedRows(
            kv_cache=self,
            slots_B=slots_B,
            positions_BT=positions_BT,
            num_tokens=num_tokens,
            visible_B1TS=(key_positions_S <= positions_BT[..., None])[:, None],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedRows:
    """The rows of one batch in a cache; the same for all layers.

    Attributes:
        kv_cache: The cache.
        slots_B: Slot of each row.
        positions_BT: Positions of the new tokens.
        num_tokens: Number S of cached tokens that are read, enough for the longest row.
        visible_B1TS: Whether a new token attends to a cached one.
    """

    kv_cache: KVCache
    slots_B: Tensor
    positions_BT: Tensor
    num_tokens: int
    visible_B1TS: Tensor

    def extend(self, layer: int, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new tokens of one layer; all keys and values so far, both [B, K, S, D]."""
        slots_BT = self.slots_B[:, None].expand_as(self.positions_BT)
        keys, values = self.kv_cache.keys[layer], self.kv_cache.values[layer]
        keys[slots_BT, :, self.positions_BT] = k_BKTD.transpose(1, 2)
        values[slots_BT, :, self.positions_BT] = v_BKTD.transpose(1, 2)
        return keys[self.slots_B, :, : self.num_tokens], values[self.slots_B, :, : self.num_tokens]
