"""Who computes how many tokens in the next step. Torch-free: it deals in counts and slots.

There are no phases: a sequence has computed tokens chasing its tokens, and prefill, chunked prefill
and decoding are the same rule. First come, first served; a slot of the cache is the unit that is
handed out (docs/decisions/0030-slots-before-blocks.md).
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from service.engine.request import Sequence

__all__ = ["Chunk", "Scheduler"]

# A prompt is cut at multiples of this, whatever else runs: the same prompt is always computed in
# the same pieces, so that its logits do not depend on its neighbours.
PROMPT_CHUNK_TOKENS = 256
# Prompt tokens per step beside the sequences that are being continued: it bounds the gap that
# running streams see while others start.
PROMPT_TOKENS_PER_STEP = 512


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of one sequence to compute in this step.

    Attributes:
        sequence: Whose.
        start: Position of the first.
        num_tokens: How many.
        is_last: Whether the next token can be chosen afterwards.
    """

    sequence: Sequence
    start: int
    num_tokens: int
    is_last: bool


class Scheduler:
    """Waiting and running sequences, and the slots of the cache.

    Args:
        num_slots: Sequences that can run at once.
    """

    def __init__(self, *, num_slots: int) -> None:
        if num_slots < 1:
            raise ValueError(f"num_slots must be at least 1, got {num_slots}")
        self.num_slots = num_slots
        self._free_slots = list(range(num_slots))
        self._waiting: deque[Sequence] = deque()
        self._running: dict[int, Sequence] = {}

    @property
    def num_waiting(self) -> int:
        """Sequences without a slot."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences with a slot."""
        return len(self._running)

    @property
    def has_work(self) -> bool:
        """Whether a step would compute anything."""
        return any(not sequence.is_paused for sequence in self.sequences())

    def sequences(self) -> Iterator[Sequence]:
        """All sequences, the running ones first."""
        yield from self._running.values()
        yield from self._waiting

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence at the end of the queue."""
        self._waiting.append(sequence)

    def remove(self, request_id: int) -> Sequence | None:
        """Drop a sequence wherever it is; its slot is free at once. None when it is unknown."""
        running = self._running.pop(request_id, None)
        if running is not None:
            assert running.slot is not None
            heapq.heappush(self._free_slots, running.slot)
            return running
        for sequence in self._waiting:
            if sequence.request_id == request_id:
                self._waiting.remove(sequence)
                return sequence
        return None

    def schedule(self) -> list[Chunk]:
        """The work of the next step: every sequence that is being continued, then prompts."""
        for sequence in [sequence for sequence in self._waiting if not sequence.is_paused]:
            if not self._free_slots:
                break
            self._waiting.remove(sequence)
            sequence.slot = heapq.heappop(self._free_slots)
            self._running[sequence.request_id] = sequence
        chunks: list[Chunk] = []
        prompt_budget = PROMPT_TOKENS_PER_STEP
        for sequence in self._running.values():
            if sequence.is_paused:
                continue
            pending = sequence.num_pending_tokens
            num_tokens = min(pending, PROMPT_CHUNK_TOKENS)
            if num_tokens > 1:
                if num_tokens > prompt_budget:
                    continue
                prompt_budget -= num_tokens
            chunks.append(
                Chunk(sequence, sequence.num_computed_tokens, num_tokens, num_tokens == pending)
            )
        return chunks

    def check_conservation(self) -> None:
        """Raise AssertionError unless every slot has exactly one owner or is free."""
        owned = [sequence.slot for sequence in self._running.values()]
        assert all(slot is not None for slot in owned)
        everything = sorted([*(slot for slot in owned if slot is not None), *self._free_slots])
        assert everything == list(range(self.num_slots)), everything
        assert all(sequence.slot is None for sequence in self._waiting)
