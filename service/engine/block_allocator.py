"""Who holds which block of the key-value cache, and which blocks hold a known beginning of a text.

Counts and token ids only: no torch, no requests. A block is referenced by the sequences that read
it. One that nobody references is free; a free one that still holds a published beginning is kept
for reuse until its room is needed, the least recently used first.
"""

import hashlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["BlockAllocator", "ConservationError", "Prefix"]


class ConservationError(AssertionError):
    """Blocks do not add up: a fault of ours, never of a request."""


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """The beginning of a text up to the end of one block.

    Attributes:
        parent: Up to the end of the block before; None for the first block.
        token_ids: Of this block.
        salt: Of the whole text.
        digest: Of all that.
    """

    parent: "Prefix | None"
    token_ids: tuple[int, ...]
    salt: bytes
    digest: bytes

    def is_same(self, other: "Prefix") -> bool:
        """Compare the whole beginnings, token by token."""
        ours: Prefix | None = self
        theirs: Prefix | None = other
        while ours is not theirs:
            if ours is None or theirs is None:
                return False
            if ours.token_ids != theirs.token_ids or ours.salt != theirs.salt:
                return False
            ours, theirs = ours.parent, theirs.parent
        return True


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


class BlockAllocator:
    """References to ``num_blocks`` blocks, and the index of published beginnings.

    Args:
        num_blocks: Blocks of the cache, numbered from 0.
        block_tokens: Tokens of one block.
        digest: Hash of bytes; only tests give a weaker one.
    """

    def __init__(
        self,
        *,
        num_blocks: int,
        block_tokens: int,
        digest: Callable[[bytes], bytes] = _sha256,
    ) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, got {num_blocks}")
        if block_tokens < 1:
            raise ValueError(f"block_tokens must be at least 1, got {block_tokens}")
        self.num_blocks = num_blocks
        self.block_tokens = block_tokens
        self._digest = digest
        self._references = [0] * num_blocks
        # Taken from the end: low numbers first.
        self._empty = list(reversed(range(num_blocks)))
        # Free blocks that hold a published beginning, the least recently used first.
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._published: dict[int, Prefix] = {}
        self._index: dict[bytes, int] = {}

    @property
    def num_free(self) -> int:
        """Blocks that can be taken, those kept for reuse included."""
        return len(self._empty) + len(self._kept)

    @property
    def num_kept(self) -> int:
        """Free blocks that hold a published beginning."""
        return len(self._kept)

    def num_blocks_for(self, num_tokens: int) -> int:
        """Blocks that so many tokens fill."""
        return -(-num_tokens // self.block_tokens)

    def references(self, block_id: int) -> int:
        """Sequences that hold a block."""
        return self._references[block_id]

    def allocate(self, num_blocks: int) -> list[int] | None:
        """Take blocks, each with one reference; None, and nothing taken, when too few are free."""
        if num_blocks > self.num_free:
            return None
        taken: list[int] = []
        for _ in range(num_blocks):
            if self._empty:
                block_id = self._empty.pop()
            else:
                block_id, _ = self._kept.popitem(last=False)
                self._unpublish(block_id)
            self._references[block_id] = 1
            taken.append(block_id)
        return taken

    def share(self, block_ids: Iterable[int]) -> None:
        """Add one reference to each block, among them free ones that are kept for reuse."""
        for block_id in block_ids:
            if self._references[block_id] == 0:
                if block_id not in self._kept:
                    raise ConservationError(f"block {block_id} is empty and cannot be shared")
                del self._kept[block_id]
            self._references[block_id] += 1

    def release(self, block_ids: Sequence[int]) -> list[int]:
        """Drop one reference of each block of a sequence; the ones that nobody holds now.

        The last block becomes the least recently used, since a beginning without the blocks before
        it is of no use.
        """
        freed: list[int] = []
        for block_id in reversed(block_ids):
            if self._references[block_id] < 1:
                raise ConservationError(f"block {block_id} is released but nobody holds it")
            self._references[block_id] -= 1
            if self._references[block_id] == 0:
                freed.append(block_id)
                if block_id in self._published:
                    self._kept[block_id] = None
                else:
                    self._empty.append(block_id)
        return freed

    def extend_prefix(
        self, parent: Prefix | None, token_ids: Sequence[int], *, salt: bytes
    ) -> Prefix:
        """The beginning that is one full block longer; a first block has no parent."""
        ids = tuple(token_ids)
        assert len(ids) == self.block_tokens
        before = self._digest(b"salt" + salt) if parent is None else parent.digest
        return Prefix(parent, ids, salt, self._digest(before + array("Q", ids).tobytes()))

    def find(self, prefix: Prefix) -> int | None:
        """The block that holds exactly this beginning."""
        block_id = self._index.get(prefix.digest)
        if block_id is None or not self._published[block_id].is_same(prefix):
            return None
        return block_id

    def publish(self, block_id: int, prefix: Prefix) -> None:
        """Let others share a full block from now on, unless another holds the same already."""
        if self._references[block_id] < 1:
            raise ConservationError(f"block {block_id} is published but nobody holds it")
        if prefix.digest not in self._index and block_id not in self._published:
            self._index[prefix.digest] = block_id
            self._published[block_id] = prefix

    def withdraw(self, block_ids: Iterable[int]) -> None:
        """Share blocks with no newcomer any more, because their content is not to be trusted."""
        for block_id in block_ids:
            if block_id in self._published:
                self._unpublish(block_id)
                if block_id in self._kept:
                    del self._kept[block_id]
                    self._empty.append(block_id)

    def check_conservation(self, holders: Iterable[Sequence[int]]) -> None:
        """Raise ConservationError unless the blocks of all holders and the free ones add up.

        Args:
            holders: The blocks of every sequence.
        """
        held: Counter[int] = Counter()
        for block_ids in holders:
            if len(set(block_ids)) != len(block_ids):
                raise ConservationError(f"one sequence holds a block twice: {list(block_ids)}")
            held.update(block_ids)
        free = Counter([*self._empty, *self._kept])
        for block_id, references in enumerate(self._references):
            if references != held[block_id]:
                raise ConservationError(
                    f"block {block_id} counts {references} references, {held[block_id]} hold it"
                )
            if free[block_id] != (references == 0):
                raise ConservationError(
                    f"block {block_id} with {references} references is {free[block_id]} "
                    "times among the free ones"
                )
        if len(held) + len(free) != self.num_blocks:
            raise ConservationError(
                f"{len(held)} held and {len(free)} free blocks are not {self.num_blocks}"
            )
        if {self._published[block_id].digest: block_id for block_id in self._published} != (
            self._index
        ):
            raise ConservationError("the index and the published blocks differ")
        if any((block_id in self._published) != (block_id in self._kept) for block_id in free):
            raise ConservationError("a free block is kept without being published, or the reverse")

    def _unpublish(self, block_id: int) -> None:
        del self._index[self._published.pop(block_id).digest]
