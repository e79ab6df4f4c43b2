"""Slots and turns, without any model."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.engine.messages import Submit
from service.engine.request import Sequence
from service.engine.scheduler import PROMPT_TOKENS_PER_STEP, Scheduler


def sequence(request_id: int, num_tokens: int) -> Sequence:
    return Sequence(Submit(request_id=request_id, prompt_ids=[1] * num_tokens, max_tokens=5))


class SchedulerMachine(RuleBasedStateMachine):
    """Any order of arrivals, cancels and steps."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(num_slots=3)
        self.alive: dict[int, Sequence] = {}
        self.next_id = 1
        self.started: list[int] = []

    @rule(num_tokens=st.integers(1, 1500))
    def add(self, num_tokens: int) -> None:
        self.alive[self.next_id] = sequence(self.next_id, num_tokens)
        self.scheduler.add(self.alive[self.next_id])
        self.next_id += 1

    @rule(request_id=st.integers(1, 40))
    def remove(self, request_id: int) -> None:
        assert (self.scheduler.remove(request_id) is None) == (request_id not in self.alive)
        self.alive.pop(request_id, None)

    @precondition(lambda self: self.alive)
    @rule()
    def step(self) -> None:
        chunks = self.scheduler.schedule()
        assert chunks
        assert sum(c.num_tokens for c in chunks if c.num_tokens > 1) <= PROMPT_TOKENS_PER_STEP
        assert len({chunk.sequence.slot for chunk in chunks}) == len(chunks)
        for chunk in chunks:
            subject = chunk.sequence
            if subject.request_id not in self.started:
                self.started.append(subject.request_id)
            assert chunk.start == subject.num_computed_tokens
            subject.num_computed_tokens += chunk.num_tokens
            assert chunk.is_last == (subject.num_pending_tokens == 0)
            if chunk.is_last and subject.append(2) is not None:
                self.remove(subject.request_id)

    @invariant()
    def nothing_is_lost_or_shared(self) -> None:
        """H55, H59."""
        self.scheduler.check_conservation()
        assert self.scheduler.num_running + self.scheduler.num_waiting == len(self.alive)
        assert self.started == sorted(self.started), "first come, first served"


TestScheduler = SchedulerMachine.TestCase


def test_a_cancelled_sequence_gives_its_slot_to_the_next_one_in_the_next_step() -> None:
    """H57."""
    scheduler = Scheduler(num_slots=1)
    for request_id in (1, 2):
        scheduler.add(sequence(request_id, 1))
    assert [chunk.sequence.request_id for chunk in scheduler.schedule()] == [1]
    scheduler.remove(1)
    assert [chunk.sequence.request_id for chunk in scheduler.schedule()] == [2]
