"""Keys and values of the tokens already computed, one contiguous row of slots per layer.

Knows positions and slots only; who owns a slot is the scheduler's business.
Shape letters as in ``transformer.py``: B rows, T tokens, S cached tokens, K key-value heads,
D head width.
"""

import torch
from torch import Tensor

from model.config import ModelConfig

__all__ = ["KVCache"]


class KVCache:
    """Cache for ``num_slots`` sequences of at most ``max_tokens`` tokens each.

    Attributes:
        num_slots: Sequences that fit at once.
        max_tokens: Tokens that fit in one slot.
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
        # Zeros, not uninitialised memory: a masked NaN still poisons a weighted sum.
        self.keys = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)
        ]
        self.values = [torch.zeros_like(keys) for keys in self.keys]

    def write(
        self,
        layer: int,
        k_BKTD: Tensor,
        v_BKTD: Tensor,
        *,
        slots_B: Tensor,
        start_B: Tensor,
    ) -> None:
        """Store T new tokens of each row at ``start_B[b]`` of slot ``slots_B[b]``."""
        num_new = k_BKTD.shape[2]
        positions_BT = start_B[:, None] + torch.arange(num_new, device=start_B.device)
        rows_BT = slots_B[:, None].expand_as(positions_BT)
        self.keys[layer][rows_BT, :, positions_BT] = k_BKTD.transpose(1, 2)
        self.values[layer][rows_BT, :, positions_BT] = v_BKTD.transpose(1, 2)

    def read(self, layer: int, *, slots_B: Tensor, num_tokens: int) -> tuple[Tensor, Tensor]:
        """The first ``num_tokens`` keys and values of each row's slot, both [B, K, S, D]."""
        return (
            self.keys[layer][slots_B, :, :num_tokens],
            self.values[layer][slots_B, :, :num_tokens],
        )
