"""What the network on a GPU is made of, besides matrix products; `triton_kernels.py` has it all.

Apart from Triton's modules, so that shapes, tables and rows are tried on machines without a GPU,
over plain torch. Shape letters as in the kernels' modules.
"""

from typing import Protocol

import torch
from torch import Tensor

from service.engine.cuda.row_state import RowState
from service.engine.cuda.token_places import PromptTiles, TokenPlaces

__all__ = ["Kernels"]


class Kernels(Protocol):
    """Operations on tensors of one device."""

    @property
    def TILE_QUERIES(self) -> int:  # noqa: N802
        """Tokens of a tile of ``attend_prompts`` at most."""
        ...

    def add_and_normalize(
        self, x_TC: Tensor, delta_TC: Tensor | None, weight_C: Tensor, *, epsilon: float
    ) -> Tensor:
        """Add ``delta_TC`` to ``x_TC`` in place; the root-mean-square norm [T, C] of the sum."""
        ...

    def gate(self, both: Tensor) -> Tensor:
        """``silu(first half) * second half`` of [T, 2 I]."""
        ...

    def rotate_and_store(
        self,
        qkv: Tensor,
        tables: tuple[Tensor, Tensor],
        places: TokenPlaces,
        keys_KPD: Tensor,
        values_KPD: Tensor,
    ) -> None:
        """Turn queries in place by their positions; turned keys and values go into the cache."""
        ...

    def attend_single_tokens(
        self,
        qkv: Tensor,
        keys_KPD: Tensor,
        values_KPD: Tensor,
        places: TokenPlaces,
        *,
        max_keys: int,
    ) -> Tensor:
        """What one token of each row attends to, [T, H * D]; 0 for rows that are not used."""
        ...

    def attend_prompts(
        self,
        qkv: Tensor,
        keys_KPD: Tensor,
        values_KPD: Tensor,
        places: TokenPlaces,
        tiles: PromptTiles,
        out: Tensor,
    ) -> None:
        """Write what the tokens of all tiles attend to into their rows of ``out`` [T, H * D]."""
        ...

    def normalize_and_multiply(
        self, x_1C: Tensor, norm_C: Tensor, matrix_OC: Tensor, *, epsilon: float
    ) -> Tensor:
        """Products [1, O] of the root-mean-square norm of ``x_1C``."""
        ...

    def normalize_and_gate(
        self, x_1C: Tensor, norm_C: Tensor, both: Tensor, *, epsilon: float
    ) -> Tensor:
        """``silu(first) * second`` [1, I] of the norm's products with the halves of [2 I, C]."""
        ...

    def multiply_and_add(self, input_1I: Tensor, matrix_CI: Tensor, x_1C: Tensor) -> None:
        """Add the products of ``input_1I`` to ``x_1C`` in place."""
        ...

    def draw_scratch(self, num_rows: int, vocabulary: int, *, device: torch.device) -> Tensor:
        """Memory that ``draw`` works in, a row for each."""
        ...

    def draw(self, logits_NV: Tensor, scratch: Tensor, state: RowState, drawn_N: Tensor) -> None:
        """Draw the next token of each row, and move the rows on to it."""
        ...
