"""The blocks of each sequence: taken, shared, grown, published and given back. Torch-free.

Two rules keep a poisoned cache from spreading. Blocks are shared only when finite logits depended
on them, and a block that goes back with a content nobody has proven is cleared before its next use.
"""

from collections.abc import Iterable

from service.engine.block_allocator import BlockAllocator, ConservationError, Prefix
from service.engine.request import Sequence

__all__ = ["BlockTables"]


class BlockTables:
    """Gives sequences their blocks.

    Args:
        allocator: All blocks of the cache.

    Attributes:
        num_reused_tokens: Tokens taken from blocks that were already filled, since the start.
    """

    def __init__(self, allocator: BlockAllocator) -> None:
        self.num_reused_tokens = 0
        self._allocator = allocator
        self._uncleared: list[int] = []

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache."""
        return self._allocator.num_blocks

    @property
    def num_free(self) -> int:
        """Blocks that can be taken."""
        return self._allocator.num_free

    @property
    def block_tokens(self) -> int:
        """Tokens of one block."""
        return self._allocator.block_tokens

    @property
    def num_tokens(self) -> int:
        """Tokens that the whole cache holds."""
        return self._allocator.num_blocks * self._allocator.block_tokens

    def can_share(self, sequence: Sequence) -> bool:
        """Whether other choices of a request would find a full block of its prompt."""
        return sequence.num_prompt_tokens > self._allocator.block_tokens

    def take(self, sequence: Sequence) -> bool:
        """Give a sequence blocks for all its tokens, filled ones first; False when there are none.

        At least its last token is left to compute, since its logits are needed.
        """
        assert not sequence.block_ids
        shared = self._find_shared(sequence)
        self._allocator.share(shared)
        num_needed = self._allocator.num_blocks_for(len(sequence.token_ids)) - len(shared)
        taken = self._allocator.allocate(num_needed)
        if taken is None:
            self._allocator.release(shared)
            return False
        num_shared_tokens = len(shared) * self._allocator.block_tokens
        sequence.block_ids = shared + taken
        sequence.num_computed_tokens = num_shared_tokens
        sequence.num_proven_tokens = num_shared_tokens
        sequence.num_published_blocks = len(shared)
        self.num_reused_tokens += num_shared_tokens
        return True

    def grow(self, sequence: Sequence) -> bool:
        """Give a sequence blocks for all its tokens; False when none is free."""
        num_needed = self._allocator.num_blocks_for(len(sequence.token_ids))
        taken = self._allocator.allocate(max(0, num_needed - len(sequence.block_ids)))
        if taken is None:
            return False
        sequence.block_ids += taken
        return True

    def grow_ahead(self, sequence: Sequence, num_tokens: int) -> int:
        """Try to give a running sequence blocks for so many tokens; how many its blocks hold."""
        num_needed = self._allocator.num_blocks_for(num_tokens) - len(sequence.block_ids)
        sequence.block_ids += self._allocator.allocate(max(0, num_needed)) or ()
        return len(sequence.block_ids) * self._allocator.block_tokens

    def prove(self, sequence: Sequence) -> None:
        """Share the full blocks from now on: finite logits have come out of all computed tokens."""
        sequence.num_proven_tokens = sequence.num_computed_tokens
        num_full = sequence.num_computed_tokens // self._allocator.block_tokens
        if num_full > sequence.num_published_blocks:
            for index in range(sequence.num_published_blocks, num_full):
                self._allocator.publish(sequence.block_ids[index], self._prefix(sequence, index))
            sequence.num_published_blocks = num_full

    def give_back(self, sequence: Sequence, *, is_poisoned: bool = False) -> None:
        """Release the blocks of a sequence.

        Args:
            sequence: It has none and nothing computed afterwards.
            is_poisoned: Whether its blocks may hold NaN; none of them is shared any more.
        """
        num_clean = sequence.num_proven_tokens // self._allocator.block_tokens
        if is_poisoned:
            num_clean = 0
            self._allocator.withdraw(sequence.block_ids)
        freed = self._allocator.release(sequence.block_ids)
        if is_poisoned or sequence.num_computed_tokens > sequence.num_proven_tokens:
            unproven = set(sequence.block_ids[num_clean:])
            self._uncleared += [block_id for block_id in freed if block_id in unproven]
        sequence.block_ids = []
        sequence.num_computed_tokens = 0
        sequence.num_proven_tokens = 0
        sequence.num_published_blocks = 0

    def take_uncleared(self) -> list[int]:
        """Blocks to clear before anything else is computed; each is told once."""
        uncleared, self._uncleared = self._uncleared, []
        return uncleared

    def check_conservation(self, sequences: Iterable[Sequence]) -> None:
        """Raise ConservationError unless the blocks of all sequences and the free ones add up."""
        holders: list[list[int]] = []
        for sequence in sequences:
            holders.append(sequence.block_ids)
            if len(sequence.block_ids) < self._allocator.num_blocks_for(
                sequence.num_computed_tokens
            ):
                raise ConservationError(f"{sequence.key} has computed more than its blocks hold")
            if not 0 <= sequence.num_proven_tokens <= sequence.num_computed_tokens:
                raise ConservationError(f"{sequence.key} has proven more than it has computed")
        self._allocator.check_conservation(holders)

    def _find_shared(self, sequence: Sequence) -> list[int]:
        shared: list[int] = []
        for index in range(sequence.num_reusable_tokens // self._allocator.block_tokens):
            block_id = self._allocator.find(self._prefix(sequence, index))
            if block_id is None:
                break
            shared.append(block_id)
        return shared

    def _prefix(self, sequence: Sequence, index: int) -> Prefix:
        """The beginning of a sequence up to the end of one of its blocks."""
        size = self._allocator.block_tokens
        while len(sequence.prefixes) <= index:
            start = len(sequence.prefixes) * size
            sequence.prefixes.append(
                self._allocator.extend_prefix(
                    sequence.prefixes[-1] if sequence.prefixes else None,
                    sequence.token_ids[start : start + size],
                    salt=sequence.request.salt,
                )
            )
        return sequence.prefixes[index]
