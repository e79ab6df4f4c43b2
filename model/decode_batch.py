"""One new token of each row of a paged cache, in tensors that never move.

What `paged_attention.py` does for any batch, for the one that comes most often and with shapes that
do not change: such a step can be recorded once and repeated (CUDA graphs). Shape letters as in
``transformer.py``; N rows, S keys, J blocks of a row, G query heads that share a key-value head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.kv_cache import CacheRow, KVCache

__all__ = ["DecodeBatch"]

_WORDS_BEFORE_BLOCKS = 3  # token, position, place


class DecodeBatch:
    """A step of up to ``num_rows`` rows of up to ``max_tokens`` tokens, the new ones included.

    Args:
        kv_cache: It is written to. Its last block belongs to nobody: rows that are not used in a
            step write there.
        num_rows: Rows, used or not.
        max_tokens: Of the longest row.

    Attributes:
        token_ids_N: The new tokens.
        positions_N: Position of each in its sequence.
        num_keys: Tokens of the longest row that it has room for.
    """

    def __init__(self, kv_cache: KVCache, *, num_rows: int, max_tokens: int) -> None:
        self.num_keys = max_tokens
        self._kv_cache = kv_cache
        self._num_rows = num_rows
        self._num_blocks = -(-max_tokens // kv_cache.block_tokens)
        device = kv_cache.keys[0].device
        width = _WORDS_BEFORE_BLOCKS + self._num_blocks
        # All that changes from step to step goes to the device in one copy.
        self._words_NW = torch.zeros(num_rows, width, dtype=torch.long, device=device)
        self._keys_S = torch.arange(self._num_blocks * kv_cache.block_tokens, device=device)
        self.token_ids_N, self.positions_N, self._places_N = self._words_NW[
            :, :_WORDS_BEFORE_BLOCKS
        ].unbind(1)
        self._blocks_NJ = self._words_NW[:, _WORDS_BEFORE_BLOCKS:]

    def fill(self, token_ids: Sequence[int], rows: Sequence[CacheRow]) -> None:
        """Set the rows of the next step, one new token each.

        Raises:
            ValueError: A row is too long, its table too short, or a block does not exist.
        """
        assert len(token_ids) == len(rows) <= self._num_rows
        spare = self._kv_cache.num_blocks - 1
        words: list[list[int]] = []
        for token_id, row in zip(token_ids, rows, strict=True):
            assert row.num_new == 1
            if row.start >= self.num_keys:
                raise ValueError(f"a row has at most {self.num_keys} tokens, got {row.start + 1}")
            (place,) = self._kv_cache.places(row)
            blocks = list(row.block_ids[: self._num_blocks])
            # Any block will do: what is beyond the row is replaced.
            blocks += [blocks[0]] * (self._num_blocks - len(blocks))
            words.append([token_id, row.start, place, *blocks])
        unused = [0, 0, spare * self._kv_cache.block_tokens, *[spare] * self._num_blocks]
        words += [unused] * (self._num_rows - len(words))
        self._words_NW.copy_(torch.tensor(words, dtype=torch.long))

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor) -> Tensor:
        """Store the new tokens of one layer; what they attend to, [H, N, D]."""
        self._kv_cache.write(layer, self._places_N, k_KND, v_KND)
        heads, num_rows, width = q_HND.shape
        kv_heads = k_KND.shape[0]
        k_KNSD, v_KNSD = (
            self._gather(pool)
            for pool in (self._kv_cache.keys[layer], self._kv_cache.values[layer])
        )
        is_hidden_NS = self._keys_S > self.positions_N[:, None]
        # The copy is ours. A weight of 0 would not do against a NaN.
        v_KNSD.masked_fill_(is_hidden_NS[None, :, :, None], 0)
        q_KNGD = q_HND.view(kv_heads, heads // kv_heads, num_rows, width).transpose(1, 2)
        scores_KNGS = torch.matmul(q_KNGD, k_KNSD.mT).mul_(width**-0.5)
        scores_KNGS.masked_fill_(is_hidden_NS[None, :, None], float("-inf"))
        weights_KNGS = scores_KNGS.softmax(dim=-1, dtype=torch.float32).to(v_KNSD.dtype)
        out_KNGD = torch.matmul(weights_KNGS, v_KNSD)
        return out_KNGD.transpose(1, 2).reshape(heads, num_rows, width)

    def keep_hidden_states(self, hidden_NC: Tensor) -> None:
        """Nothing: an inspected row is no part of such a batch."""

    def _gather(self, pool_KPD: Tensor) -> Tensor:
        """Copies of the rows' blocks, [K, N, S, D]."""
        heads, _, width = pool_KPD.shape
        blocks = pool_KPD.view(heads, -1, self._kv_cache.block_tokens, width)
        found = blocks.index_select(1, self._blocks_NJ.flatten())
        return found.view(heads, self._num_rows, -1, width)
