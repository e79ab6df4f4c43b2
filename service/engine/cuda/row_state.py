"""All that one row of a recorded step needs, in tensors that never move.

It goes to the device in one copy, and from there on the device moves it from token to token by
itself. Shape letter: N rows.
"""

from collections.abc import Sequence

import numpy as np
import torch

from service.engine.cuda.token_places import TokenPlaces
from service.engine.drawn_rows import DrawnRow

__all__ = ["RowState"]


class RowState:
    """Up to ``num_rows`` rows with up to ``num_table_blocks`` blocks of theirs.

    Args:
        num_rows: Rows, used or not.
        num_table_blocks: Entries of all tables together.
        num_blocks: Blocks of the cache; ids are checked against it.
        block_tokens: Tokens of a block.
        device: Where the step runs.
    """

    def __init__(
        self,
        *,
        num_rows: int,
        num_table_blocks: int,
        num_blocks: int,
        block_tokens: int,
        device: torch.device,
    ) -> None:
        self._num_rows = num_rows
        self._num_blocks = num_blocks
        self._block_tokens = block_tokens
        # Kernels are compiled once more for addresses that are no multiples of 16 bytes.
        stride = -(-num_rows // 4) * 4
        # In 64 bits: seeds, top-p, min-p; in 32: temperatures, six integers, the tables.
        num_long, num_short = 3 * stride, 7 * stride + num_table_blocks
        size = 8 * num_long + 4 * num_short
        self._host = torch.zeros(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._copied = torch.cuda.Event() if device.type == "cuda" else None
        self._device = torch.zeros(size, dtype=torch.uint8, device=device)
        longs = self._device[: 8 * num_long]
        shorts = self._device[8 * num_long :]
        self.seeds_N = longs.view(torch.int64)[:num_rows]
        shares = longs.view(torch.float64)[stride:].view(2, stride)
        self.top_ps_N, self.min_ps_N = shares[:, :num_rows]
        self.temperatures_N = shorts.view(torch.float32)[:num_rows]
        integers = shorts.view(torch.int32)[stride:]
        (
            self.tokens_N,
            self.positions_N,
            self.lasts_N,
            self._table_starts_N,
            self.top_ks_N,
            self.samples_N,
        ) = integers[: 6 * stride].view(6, stride)[:, :num_rows]
        self._block_ids = integers[6 * stride :]
        # The same places in the host's memory.
        host = self._host.numpy()
        self._host_seeds = host[: 8 * stride].view(np.uint64)
        self._host_shares = host[8 * stride : 8 * num_long].view(np.float64).reshape(2, stride)
        self._host_temperatures = host[8 * num_long :].view(np.float32)[:stride]
        words = host[8 * num_long :].view(np.int32)[stride:]
        self._host_words = words[: 6 * stride].reshape(6, stride)
        self._host_blocks = words[6 * stride :]

    @property
    def places(self) -> TokenPlaces:
        """Where the rows' tokens stand, as the layers' kernels read it."""
        return TokenPlaces(
            positions_T=self.positions_N,
            lasts_T=self.lasts_N,
            table_starts_T=self._table_starts_N,
            block_ids=self._block_ids,
            block_tokens=self._block_tokens,
        )

    def fill(self, rows: Sequence[DrawnRow]) -> None:
        """Set the rows of the next step.

        Raises:
            ValueError: A table is too short or names a block that does not exist, or all tables
                together are too long.
        """
        num_used = len(rows)
        assert 0 < num_used <= self._num_rows
        lengths = [len(row.block_ids) for row in rows]
        for row, length in zip(rows, lengths, strict=True):
            if row.last >= length * self._block_tokens:
                raise ValueError(
                    f"{length} blocks hold {length * self._block_tokens} tokens, got {row.last + 1}"
                )
        blocks: list[int] = []
        for row in rows:
            blocks += row.block_ids
        if len(blocks) > self._host_blocks.shape[0]:
            raise ValueError(
                f"the rows of a step have at most {self._host_blocks.shape[0]} blocks, "
                f"got {len(blocks)}"
            )
        if self._copied is not None:
            # The copy before this one has left the host's memory.
            self._copied.synchronize()
        block_ids = np.array(blocks, dtype=np.int32)
        if block_ids.min() < 0 or block_ids.max() >= self._num_blocks:
            raise ValueError(f"block ids must lie in 0..{self._num_blocks - 1}")
        self._host_blocks[: len(blocks)] = block_ids
        starts = np.cumsum([0, *lengths[:-1]], dtype=np.int32)
        words = self._host_words
        words[:, num_used:] = 0
        words[2, num_used:] = -1
        words[:3, :num_used] = np.array(
            [(row.token_id, row.start, row.last) for row in rows], dtype=np.int32
        ).T
        words[3, :num_used] = starts
        words[4, :num_used] = [row.top_k for row in rows]
        words[5, :num_used] = [row.sample for row in rows]
        self._host_temperatures[:num_used] = [row.temperature for row in rows]
        self._host_shares[:, :num_used] = np.array([(row.top_p, row.min_p) for row in rows]).T
        self._host_seeds[:num_used] = np.array([row.seed for row in rows], dtype=np.uint64)
        # The device's memory has the same order; what lies beyond the tables' end is not read.
        size = self._host.shape[0] - 4 * (self._host_blocks.shape[0] - len(blocks))
        self._device[:size].copy_(self._host[:size], non_blocking=True)
        if self._copied is not None:
            self._copied.record()
