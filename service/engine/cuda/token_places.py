"""Where the tokens of a step stand: position, last position of their row, and table of blocks."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["PromptTiles", "TokenPlaces"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlaces:
    """Integers in 32 bits on the device.

    Attributes:
        positions_T: Of each token in its sequence.
        lasts_T: Last position that may be computed of its sequence; a token beyond it is neither
            stored nor attended to. -1 for a row that is not used.
        table_starts_T: Where its sequence's table starts in ``block_ids``.
        block_ids: The tables of all rows, one after another.
        block_tokens: Tokens of a block.
    """

    positions_T: Tensor
    lasts_T: Tensor
    table_starts_T: Tensor
    block_ids: Tensor
    block_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTiles:
    """Pieces of prompts, cut into tiles of queries that are computed together.

    Attributes:
        firsts: Of each tile the first token of the step.
        counts: Tokens of each tile, at most ``TILE_QUERIES`` of the attention kernel.
    """

    firsts: Tensor
    counts: Tensor
