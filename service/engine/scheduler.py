"""Who computes how many tokens in the next step. Torch-free: it deals in counts and blocks.

There are no phases: a sequence has computed tokens chasing its tokens, and prefill, chunked
prefill, decoding and resuming are the same rule. First come, first served, also for blocks: when
none is free the youngest sequence goes back to the queue and computes its tokens again later.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from service.engine.block_allocator import ConservationError
from service.engine.block_tables import BlockTables
from service.engine.inspection_pace import InspectionPace, Inspector
from service.engine.request import Sequence
from service.engine.step_pace import StepPace
from service.engine.step_plan import MAX_TRACED_TOKENS, Chunk, StepPlan, prompt_chunk
from service.engine.waiting_line import WaitingLine, check_arrivals, insert_by_arrival

__all__ = ["Scheduler"]

# Sequences that are computed at once and want more than tokens; the others of them wait.
MAX_INSPECTED = 2
# Of all places, so that those who want only tokens have most of them.
INSPECTED_SHARE_OF_RUNNING = 0.25
# Tokens of their prompts in a step beside others; of those that are traced themselves fewer, since
# each takes as long as the sampler takes for some sequences.
INSPECTED_TOKENS_BESIDE_OTHERS = 16
TRACED_TOKENS_BESIDE_OTHERS = 4


class Scheduler:
    """Waiting and running sequences, and their turns.

    Args:
        max_running: Sequences computed at once; paused ones do not count.
        tables: Gives them blocks.
        pace: Says how much of the prompts a step may compute.
        inspection_pace: Says when those that want more than tokens may go along with others, here
            or in another model; is told whether anybody streams here.
        inspector: As whom it asks there.

    Attributes:
        num_preemptions: Sequences put back into the queue for want of blocks, since the start.
        num_chunked_prompts: Prompts computed in more than one step, since the start.
    """

    def __init__(
        self,
        *,
        max_running: int,
        tables: BlockTables,
        pace: StepPace,
        inspection_pace: InspectionPace,
        inspector: Inspector = Inspector.NETWORK,
    ) -> None:
        if max_running < 1:
            raise ValueError(f"max_running must be at least 1, got {max_running}")
        if max_running > pace.max_step_tokens:
            raise ValueError(
                f"max_running must be at most {pace.max_step_tokens}, the tokens of a step, "
                f"got {max_running}"
            )
        self.num_preemptions = 0
        self.num_chunked_prompts = 0
        self._max_running = max_running
        places = max(1, int(INSPECTED_SHARE_OF_RUNNING * max_running))
        self._max_inspected = min(MAX_INSPECTED, places)
        self._tables = tables
        self._block_tokens = tables.block_tokens
        self._pace = pace
        self._inspection_pace = inspection_pace
        self._inspector = inspector
        inspection_pace.watch(
            inspector.kind, is_fixed=pace.is_fixed, serves_streams=lambda: self.serves_others
        )
        self._waiting = WaitingLine()
        # In the order of arrival.
        self._running: list[Sequence] = []
        self._num_sequences = 0

    @property
    def num_waiting(self) -> int:
        """Sequences without blocks."""
        return self._num_sequences - len(self._running)

    @property
    def num_running(self) -> int:
        """Sequences with blocks, paused ones included."""
        return len(self._running)

    @property
    def has_work(self) -> bool:
        """Whether a step would compute anything."""
        has_turn = self._inspection_pace.has_turn(self._inspector)
        if self._waiting.first(may_be_inspected=has_turn) is not None:
            return True
        return any(
            not sequence.is_paused and (has_turn or not sequence.is_inspected)
            for sequence in self._running
        )

    @property
    def serves_others(self) -> bool:
        """Whether anything is computed for a sequence that wants only tokens."""
        return any(not sequence.is_inspected for sequence in self._active())

    def sequences(self) -> Iterator[Sequence]:
        """All sequences, the running ones first."""
        for sequence in (*self._running, *self._waiting):
            yield sequence
            yield from sequence.followers

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence, with its followers, into the queue at the place of its arrival."""
        self._num_sequences += 1 + len(sequence.followers)
        self._waiting.add(sequence)

    def remove(self, sequence: Sequence, *, is_poisoned: bool = False) -> None:
        """Drop a sequence wherever it is; its blocks are free at once.

        Args:
            sequence: One of ``sequences()``. Its followers stay: the first of them leads now.
            is_poisoned: Whether its blocks may hold NaN.
        """
        self._num_sequences -= 1
        if sequence.block_ids:
            self._running.remove(sequence)
            self._tables.give_back(sequence, is_poisoned=is_poisoned)
        elif sequence.is_waiting:
            self._waiting.remove(sequence)
        elif sequence.leader is not None:
            sequence.leader.followers.remove(sequence)
        if sequence.followers:
            first, *others = sequence.release_followers()
            first.lead(others)
            first.prompt_logprobs = sequence.prompt_logprobs
            self._waiting.add(first)

    def schedule(self) -> StepPlan:
        """The work of the next step: every stream, then prompts, the oldest first.

        The oldest sequence that is not paused always advances: no older one can take its blocks,
        and a part of the tokens is always left for the oldest prompt. Those that want more than
        tokens wait for their turn, unless nobody streams in any model.
        """
        pace = self._inspection_pace
        has_turn = pace.has_turn(self._inspector)
        plan = self._plan(is_alone=not pace.has_streams, has_turn=has_turn)
        if plan.chunks or not self.has_work:
            return plan
        # The others have just lost their blocks.
        second = self._plan(is_alone=not pace.has_streams, has_turn=True)
        return replace(second, started=plan.started + second.started)

    def _plan(self, *, is_alone: bool, has_turn: bool) -> StepPlan:
        active = list(self._active())
        chunks = [
            Chunk(sequence, sequence.num_computed_tokens, 1, True)
            for sequence in active
            if sequence.num_pending_tokens == 1
            and sequence.observer is None
            and not sequence.wants_prompt_logprobs
            and (has_turn or not sequence.is_inspected)
            and self._secure_blocks(sequence)
        ]
        num_streams = len(chunks)
        num_inspected = sum(chunk.sequence.is_inspected for chunk in chunks)
        if not self._waiting and num_streams == len(active):
            return StepPlan(tuple(chunks), (), num_streams, 0, num_inspected)
        started = self._admit()
        planned = {chunk.sequence.arrival for chunk in chunks}
        budget = self._pace.prompt_tokens(num_streams=num_streams)
        inspected_budget = INSPECTED_TOKENS_BESIDE_OTHERS if has_turn else 0
        if is_alone:
            inspected_budget = budget
        for sequence in self._active():
            room = min(budget, inspected_budget) if sequence.is_inspected else budget
            if room > 0 and sequence.arrival not in planned:
                max_traced = MAX_TRACED_TOKENS if is_alone else TRACED_TOKENS_BESIDE_OTHERS
                chunks.append(prompt_chunk(sequence, room, max_traced=max_traced))
                budget -= chunks[-1].num_tokens
                if sequence.is_inspected:
                    num_inspected += 1
                    inspected_budget -= chunks[-1].num_tokens
        return StepPlan(
            chunks=tuple(chunks),
            started=tuple(started),
            num_streams=num_streams,
            num_prompt_tokens=sum(chunk.num_tokens for chunk in chunks[num_streams:]),
            num_inspected=num_inspected,
        )

    def note_computed(self, chunk: Chunk) -> None:
        """A chunk's keys and values are in the cache."""
        sequence = chunk.sequence
        sequence.num_computed_tokens += chunk.num_tokens
        if chunk.start < sequence.num_prompt_tokens:
            sequence.num_prompt_steps += 1
            if sequence.num_prompt_steps == 2:
                self.num_chunked_prompts += 1

    def note_proven(self, sequence: Sequence) -> None:
        """Finite logits have come out of all that a sequence has computed.

        Its blocks can be shared, first of all by the other choices of its request.
        """
        self._tables.prove(sequence)
        if sequence.followers:
            for follower in sequence.release_followers():
                self._waiting.add(follower)

    def check_conservation(self) -> None:
        """Raise ConservationError unless blocks, queue and batch add up."""
        sequences = list(self.sequences())
        self._tables.check_conservation(sequences)
        keys = {sequence.key for sequence in sequences}
        if len(keys) != len(sequences):
            raise ConservationError("a sequence is in two places")
        check_arrivals(self._running)
        self._waiting.check_conservation()
        if any(not sequence.block_ids for sequence in self._running):
            raise ConservationError("a running sequence has no blocks")
        if len(sequences) - self.num_running != self.num_waiting:
            raise ConservationError("waiting and running are not all")
        for sequence in sequences:
            if sequence.block_ids and sequence not in self._running:
                raise ConservationError(f"{sequence.key} has blocks but is not running")
            if any(follower.leader is not sequence for follower in sequence.followers):
                raise ConservationError(f"{sequence.key} is followed by one that does not know")

    def _active(self) -> Iterator[Sequence]:
        """Running sequences that may be computed now."""
        num_active = num_inspected = 0
        for sequence in self._running:
            if sequence.is_paused or num_active == self._max_running:
                continue
            if sequence.is_inspected:
                num_inspected += 1
                if num_inspected > self._max_inspected:
                    continue
            num_active += 1
            yield sequence

    def _secure_blocks(self, sequence: Sequence) -> bool:
        """Blocks for all tokens of a running sequence; False when it is not running any more.

        A paused sequence gives way first, then the youngest, which may be this one.
        """
        if len(sequence.token_ids) <= len(sequence.block_ids) * self._block_tokens:
            return True
        if not sequence.block_ids:
            return False
        while not self._tables.grow(sequence):
            victim = self._youngest_paused() or self._running[-1]
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _admit(self) -> list[Sequence]:
        """Move sequences from the queue into the batch, strictly in order.

        Only those that want more than tokens are passed over while enough of them are there.
        """
        started: list[Sequence] = []
        if not self._waiting:
            return started
        active = [sequence.is_inspected for sequence in self._active()]
        num_active, num_inspected = len(active), sum(active)
        while num_active < self._max_running:
            has_place = num_inspected < self._max_inspected
            sequence = self._waiting.first(may_be_inspected=has_place)
            if sequence is None or not self._take_blocks(sequence):
                break
            self._waiting.remove(sequence)
            insert_by_arrival(self._running, sequence)
            num_active += 1
            num_inspected += sequence.is_inspected
            if not sequence.was_started:
                sequence.was_started = True
                started.append(sequence)
        return started

    def _take_blocks(self, sequence: Sequence) -> bool:
        """Blocks for one that waits; whoever reads may have those of who does not."""
        while not self._tables.take(sequence):
            if (paused := self._youngest_paused()) is None:
                return False
            self._preempt(paused)
        return True

    def _youngest_paused(self) -> Sequence | None:
        return next((sequence for sequence in reversed(self._running) if sequence.is_paused), None)

    def _preempt(self, sequence: Sequence) -> None:
        self.num_preemptions += 1
        self._running.remove(sequence)
        self._tables.give_back(sequence)
        self._waiting.add(sequence)
