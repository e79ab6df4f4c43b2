"""Any order of events for scheduler, block tables and allocator, over a cache that holds tokens.

Without any model: a block's content is the tokens that were written to it, so that whoever reads a
block of another text is found out. Also run against broken allocators.
"""

import hashlib
import random
from collections.abc import Callable
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.engine.block_allocator import BlockAllocator
from service.engine.block_tables import BlockTables
from service.engine.inspection_pace import InspectionPace, Inspector
from service.engine.messages import EngineFinish, ModelKind, Submit, TokenLogprob
from service.engine.request import Sequence
from service.engine.request_table import RequestTable
from service.engine.scheduler import Scheduler
from service.engine.step_pace import StepPace
from service.engine.step_plan import Chunk, StepPlan
from service.engine.trace_messages import Inspection

NUM_BLOCKS = 12
BLOCK_TOKENS = 4
NUM_TOKENS = NUM_BLOCKS * BLOCK_TOKENS
MAX_RUNNING = 3
MAX_STEP_TOKENS = 16
END_TOKEN = 0
# What a computation that went wrong leaves in the cache.
NAN = -1
CLEARED = -2
# Most prompts begin like others.
BEGINNINGS = ((3, 4, 5, 6) * 11, (3, 4, 5, 6, 7) * 9, (8,) * 42)


def prompt(text: tuple[int, ...], size: int, rest: list[int]) -> list[int]:
    """The beginning of a text, then something else."""
    return [*text[:size], *rest]


prompts = st.builds(
    prompt,
    st.sampled_from(BEGINNINGS),
    st.integers(0, 42),
    st.lists(st.integers(3, 5), min_size=1, max_size=6),
)
# Counted back from the newest; the first is not given yet.
recent = st.integers(0, 6)


def weak_digest(content: bytes) -> bytes:
    """Collides all the time: the exact comparison has to notice."""
    return hashlib.sha256(content).digest()[:1]


class SchedulingMachine(RuleBasedStateMachine):
    """Requests come, are cancelled, paused, poisoned and late, in any order."""

    allocator_class: ClassVar[type[BlockAllocator]] = BlockAllocator
    tables_class: ClassVar[type[BlockTables]] = BlockTables

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.memory = [CLEARED] * NUM_TOKENS
        self.tables = self.tables_class(
            self.allocator_class(
                num_blocks=NUM_BLOCKS, block_tokens=BLOCK_TOKENS, digest=weak_digest
            )
        )
        self.inspection_pace = InspectionPace()
        self.scheduler = Scheduler(
            max_running=MAX_RUNNING,
            tables=self.tables,
            pace=StepPace(max_step_tokens=MAX_STEP_TOKENS, is_fixed=True),
            inspection_pace=self.inspection_pace,
        )
        self.requests = RequestTable(self.scheduler, tables=self.tables, clock=lambda: self.now)
        self.next_id = 1
        self.poisoned: set[int] = set()
        # Everything that was accepted has exactly one end.
        self.alive: set[tuple[int, int]] = set()

    @rule(
        prompt_ids=prompts,
        max_tokens=st.integers(0, 20),
        num_choices=st.sampled_from([1, 1, 1, 3]),
        timeout_seconds=st.sampled_from([None, None, None, 0, 9]),
        salt=st.sampled_from([b"", b"", b"other"]),
        prompt_logprobs=st.sampled_from([False, False, True]),
        inspected=st.sampled_from(["nothing", "nothing", "nothing", "made", "given"]),
        first_position=st.integers(1, 42),
    )
    def submit(
        self,
        prompt_ids: list[int],
        max_tokens: int,
        num_choices: int,
        timeout_seconds: int | None,
        salt: bytes,
        prompt_logprobs: bool,
        inspected: str,
        first_position: int,
    ) -> None:
        inspect = None if inspected == "nothing" else Inspection(3)
        if inspected == "given" and len(prompt_ids) > 1:
            inspect = Inspection(3, first_position=min(first_position, len(prompt_ids) - 1))
            max_tokens, num_choices, prompt_logprobs = 0, 1, False
        request = Submit(
            request_id=self.next_id,
            prompt_ids=prompt_ids,
            max_tokens=min(max_tokens, NUM_TOKENS - len(prompt_ids) + 1),
            num_choices=num_choices,
            timeout_seconds=timeout_seconds,
            salt=salt,
            end_token_ids=(END_TOKEN,),
            prompt_logprobs=prompt_logprobs,
            inspect=inspect,
        )
        self.requests.submit(request)
        self.alive |= {(self.next_id, choice) for choice in range(num_choices)}
        self.next_id += 1

    @rule(request_id=recent, choice=st.none() | st.integers(0, 3))
    def cancel(self, request_id: int, choice: int | None) -> None:
        """H57: in any state, unknown and finished ones included."""
        request_id = self.next_id - request_id
        self.requests.cancel(request_id, choice=choice)
        self.alive -= {
            key for key in self.alive if key[0] == request_id and choice in (None, key[1])
        }

    @rule(request_id=recent, is_paused=st.booleans())
    def set_paused(self, request_id: int, is_paused: bool) -> None:
        request_id = self.next_id - request_id
        self.requests.set_paused(request_id, is_paused=is_paused)

    @rule(request_id=recent)
    def poison(self, request_id: int) -> None:
        """From now on, whatever is computed for a request is NaN."""
        self.poisoned.add(self.next_id - request_id)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.scheduler.has_work)
    @rule(num_steps=st.integers(1, 12), seed=st.integers(0, 2**32))
    def step(self, num_steps: int, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(num_steps):
            self.advance(lambda: chance.choice([END_TOKEN, *range(1, 30)]))

    def advance(self, draw_token: Callable[[], int]) -> None:
        """One step of the engine."""
        for sequence in self.requests.expired():
            self.end(sequence)
        had_work = self.scheduler.has_work
        plan = self.scheduler.schedule()
        self.clear_blocks()
        # H60, H61: there is no work that waits for ever, and the oldest always advances.
        assert bool(plan.chunks) == had_work
        active = [sequence for sequence in self.running() if not sequence.is_paused]
        planned = [chunk.sequence for chunk in plan.chunks]
        # Those that are inspected wait for their turn beside others.
        waits_for_turn = active and active[0].is_inspected
        assert not active or waits_for_turn or active[0] in planned
        assert sum(sequence.is_inspected for sequence in planned) <= 1, "a quarter of the places"
        self.note_turns(plan)
        self.check_order(plan.started)
        assert sum(chunk.num_tokens for chunk in plan.chunks) <= MAX_STEP_TOKENS + MAX_RUNNING
        assert len({chunk.sequence.key for chunk in plan.chunks}) == len(plan.chunks)
        assert len(plan.chunks) <= MAX_RUNNING
        for chunk in plan.chunks:
            self.compute(chunk)
        for chunk in plan.chunks:
            self.conclude(chunk, draw_token)
        self.clear_blocks()

    def note_turns(self, plan: StepPlan) -> None:
        """What the engine tells the pace of inspections."""
        if plan.num_inspected == 0:
            self.inspection_pace.note_step(ModelKind.TRANSFORMER, 1.0)
        else:
            self.inspection_pace.note_turn(Inspector.NETWORK, 1.0)

    def running(self) -> list[Sequence]:
        """Sequences with blocks, the oldest first."""
        running = [sequence for sequence in self.scheduler.sequences() if sequence.block_ids]
        return sorted(running, key=lambda sequence: sequence.arrival)

    def check_order(self, started: tuple[Sequence, ...]) -> None:
        """H59: nobody starts before one who came earlier and could have."""
        followers = {
            follower.key
            for sequence in self.scheduler.sequences()
            for follower in sequence.followers
        }
        for newcomer in started:
            for other in self.scheduler.sequences():
                is_passed_over = other.is_paused or other.is_inspected
                if not (other.block_ids or is_passed_over or other.key in followers):
                    assert other.arrival > newcomer.arrival

    def place(self, sequence: Sequence, position: int) -> int:
        """Where a position of a sequence is in the cache."""
        return sequence.block_ids[position // BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS

    def compute(self, chunk: Chunk) -> None:
        sequence = chunk.sequence
        assert chunk.start == sequence.num_computed_tokens
        for position in range(chunk.start, chunk.start + chunk.num_tokens):
            is_poisoned = sequence.request_id in self.poisoned
            token_id = NAN if is_poisoned else sequence.token_ids[position]
            self.memory[self.place(sequence, position)] = token_id

    def conclude(self, chunk: Chunk, draw_token: Callable[[], int]) -> None:
        sequence = chunk.sequence
        self.scheduler.note_computed(chunk)
        assert chunk.is_last == (sequence.num_pending_tokens == 0)
        if sequence.next_traced is not None and chunk.wants_all_logits:
            assert chunk.start == sequence.next_traced - 1, "none is left out or comes twice"
            end = min(chunk.start + chunk.num_tokens + 1, sequence.num_prompt_tokens)
            sequence.note_traced(end - sequence.next_traced)
        elif chunk.wants_all_logits:
            assert chunk.start <= len(sequence.prompt_logprobs or ()) - 1, "none is left out"
            num_tokens = min(chunk.num_tokens, sequence.num_prompt_tokens - chunk.start - 1)
            sequence.note_prompt_logprobs(chunk.start + 1, [TokenLogprob(-1.0, 1, [])] * num_tokens)
        if not chunk.is_last:
            return
        assert not sequence.wants_prompt_logprobs
        assert sequence.next_traced is None
        sequence.take_prompt_logprobs()
        if sequence.request_id in self.poisoned:
            self.end(sequence, is_poisoned=True)
            return
        self.scheduler.note_proven(sequence)
        finish = sequence.append(draw_token())
        assert (sequence.num_output_tokens == sequence.request.max_tokens) == (
            finish is EngineFinish.LENGTH
        )
        if finish is not None:
            self.end(sequence)

    def end(self, sequence: Sequence, *, is_poisoned: bool = False) -> None:
        self.alive.remove(sequence.key)
        self.requests.drop(sequence, is_poisoned=is_poisoned)

    def clear_blocks(self) -> None:
        for block_id in self.tables.take_uncleared():
            start = block_id * BLOCK_TOKENS
            self.memory[start : start + BLOCK_TOKENS] = [CLEARED] * BLOCK_TOKENS

    @invariant()
    def the_books_add_up(self) -> None:
        """H55, H64."""
        self.requests.check_conservation()
        assert {sequence.key for sequence in self.scheduler.sequences()} == self.alive
        assert self.scheduler.num_running + self.scheduler.num_waiting == len(self.alive)

    @invariant()
    def everyone_reads_their_own_text(self) -> None:
        """H47, H137: no block of a healthy sequence holds another text, or NaN even in its tail."""
        self.clear_blocks()
        for sequence in self.running():
            if sequence.request_id in self.poisoned:
                continue
            for position in range(sequence.num_computed_tokens):
                assert self.memory[self.place(sequence, position)] == sequence.token_ids[position]
            for block_id in sequence.block_ids:
                start = block_id * BLOCK_TOKENS
                assert NAN not in self.memory[start : start + BLOCK_TOKENS]

    def teardown(self) -> None:
        """Everybody comes to an end when all are read again."""
        for request_id in range(1, self.next_id):
            self.requests.set_paused(request_id, is_paused=False)
        num_steps = 0
        while self.scheduler.has_work:
            self.advance(lambda: 1)
            self.the_books_add_up()
            self.everyone_reads_their_own_text()
            num_steps += 1
            assert num_steps < 5000
        assert not self.alive
        assert self.requests.is_empty
        assert self.tables.num_free == NUM_BLOCKS
