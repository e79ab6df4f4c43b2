"""What a step of chunks of any length tells the device: integers, token by token and tile by tile.

Shape letters: T tokens of the step, R rows of logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.engine.executor import ChunkInput, LogitsWanted

__all__ = ["PromptWords", "prompt_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWords:
    """A step of some chunks, one after another.

    Attributes:
        num_chunks: How many.
        tokens: Ids of the T tokens.
        positions: Of each in its sequence.
        table_starts: Of each, where its sequence's table starts in ``block_ids``.
        block_ids: The tables of all chunks, one after another.
        firsts: Of each tile of tokens that attend together the first one.
        counts: Of each tile the number of tokens.
        wanted: The R tokens whose logits are wanted.
        rows: Of each chunk, which rows of logits are its own.
    """

    num_chunks: int
    tokens: Sequence[int]
    positions: Sequence[int]
    table_starts: Sequence[int]
    block_ids: Sequence[int]
    firsts: Sequence[int]
    counts: Sequence[int]
    wanted: Sequence[int]
    rows: Sequence[slice]

    def of_tokens(self) -> tuple[Sequence[int], ...]:
        """Tokens, positions, last positions of their rows, and starts of tables."""
        return self.tokens, self.positions, self.positions, self.table_starts


def prompt_words(
    chunks: Sequence[ChunkInput], *, block_tokens: int, num_blocks: int, tile: int
) -> PromptWords:
    """Lay out a step of some chunks, at most one of each sequence.

    Raises:
        ValueError: A table is too short, or names a block that does not exist.
    """
    tokens: list[int] = []
    positions: list[int] = []
    table_starts: list[int] = []
    block_ids: list[int] = []
    firsts: list[int] = []
    counts: list[int] = []
    wanted: list[int] = []
    rows: list[slice] = []
    for chunk in chunks:
        num_new, room = len(chunk.token_ids), len(chunk.block_ids) * block_tokens
        if chunk.start + num_new > room:
            raise ValueError(
                f"{len(chunk.block_ids)} blocks hold {room} tokens, got {chunk.start + num_new}"
            )
        first, num_before = len(tokens), len(wanted)
        firsts += range(first, first + num_new, tile)
        counts += [min(tile, num_new - place) for place in range(0, num_new, tile)]
        tokens += chunk.token_ids
        positions += range(chunk.start, chunk.start + num_new)
        table_starts += [len(block_ids)] * num_new
        block_ids += chunk.block_ids
        match chunk.logits:
            case LogitsWanted.NONE:
                pass
            case LogitsWanted.LAST:
                wanted.append(first + num_new - 1)
            case LogitsWanted.ALL:
                wanted += range(first, first + num_new)
        rows.append(slice(num_before, len(wanted)))
    if min(block_ids) < 0 or max(block_ids) >= num_blocks:
        raise ValueError(f"block ids must lie in 0..{num_blocks - 1}")
    return PromptWords(
        num_chunks=len(chunks),
        tokens=tokens,
        positions=positions,
        table_starts=table_starts,
        block_ids=block_ids,
        firsts=firsts,
        counts=counts,
        wanted=wanted,
        rows=rows,
    )
