"""Who gets a turn: scenes of the scheduler without any model."""

import pytest

from service.engine.block_allocator import BlockAllocator
from service.engine.block_tables import BlockTables
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.inspection_pace import InspectionPace
from service.engine.messages import Submit
from service.engine.request_table import RequestTable
from service.engine.scheduler import Scheduler
from service.engine.step_pace import (
    FIXED_PROMPT_TOKENS_ALONE,
    FIXED_PROMPT_TOKENS_BESIDE_STREAMS,
    MIN_PROMPT_TOKENS,
    StepPace,
)
from service.engine.step_plan import StepPlan
from service.engine.trace_messages import Inspection

BLOCK_TOKENS = 4


class Stage:
    """A scheduler, and an engine that computes whatever it plans."""

    def __init__(self, *, num_blocks: int, max_running: int = 4, max_step_tokens: int = 64) -> None:
        self.tables = BlockTables(BlockAllocator(num_blocks=num_blocks, block_tokens=BLOCK_TOKENS))
        self.pace = StepPace(max_step_tokens=max_step_tokens, is_fixed=True)
        self.scheduler = Scheduler(
            max_running=max_running,
            tables=self.tables,
            pace=self.pace,
            inspection_pace=InspectionPace(),
        )
        self.requests = RequestTable(self.scheduler, tables=self.tables, clock=lambda: 0.0)
        self.num_submitted = 0
        self.ended: list[int] = []

    def submit(
        self,
        *,
        size: int,
        max_tokens: int,
        num_choices: int = 1,
        inspect: Inspection | None = None,
    ) -> int:
        self.num_submitted += 1
        number = self.num_submitted
        self.requests.submit(
            Submit(
                request_id=number,
                prompt_ids=[number] * size,
                max_tokens=max_tokens,
                num_choices=num_choices,
                inspect=inspect,
            )
        )
        return number

    def step(self) -> StepPlan:
        plan = self.scheduler.schedule()
        for chunk in plan.chunks:
            self.scheduler.note_computed(chunk)
            if chunk.is_last:
                self.scheduler.note_proven(chunk.sequence)
                if chunk.sequence.append(0) is not None:
                    self.requests.drop(chunk.sequence)
                    self.ended.append(chunk.sequence.request_id)
        self.requests.check_conservation()
        return plan


def in_plan(plan: StepPlan) -> list[int]:
    return [chunk.sequence.request_id for chunk in plan.chunks]


def test_a_long_prompt_starts_although_short_ones_keep_coming() -> None:
    """H59: everybody starts in the order of arrival, whatever their size."""
    stage = Stage(num_blocks=40, max_running=3)
    for _ in range(3):
        stage.submit(size=8, max_tokens=10)
    stage.step()
    long = stage.submit(size=150, max_tokens=4)
    started: list[int] = []
    for _ in range(60):
        stage.submit(size=4, max_tokens=3)
        started += [sequence.request_id for sequence in stage.step().started]
    assert started[0] == long
    assert started == sorted(started)
    assert long in stage.ended


def test_streams_advance_in_every_step_of_a_flood_of_long_prompts() -> None:
    """H58: and the prompts beside them cost a step a bounded number of tokens."""
    stage = Stage(num_blocks=400, max_running=4, max_step_tokens=1000)
    streams = [stage.submit(size=1, max_tokens=60) for _ in range(3)]
    stage.step()
    for _ in range(10):
        stage.submit(size=300, max_tokens=2)
    for _ in range(50):
        plan = stage.step()
        assert in_plan(plan)[:3] == streams
        assert plan.num_prompt_tokens <= FIXED_PROMPT_TOKENS_BESIDE_STREAMS
    assert stage.scheduler.num_chunked_prompts > 1


def test_a_prompt_that_is_alone_is_computed_in_large_pieces() -> None:
    stage = Stage(num_blocks=400, max_step_tokens=1000)
    stage.submit(size=300, max_tokens=2)
    assert stage.step().num_prompt_tokens == FIXED_PROMPT_TOKENS_ALONE
    assert stage.step().num_prompt_tokens == 300 - FIXED_PROMPT_TOKENS_ALONE


def test_without_a_free_block_the_youngest_gives_way_and_comes_back_first() -> None:
    """H61."""
    stage = Stage(num_blocks=9, max_running=3)
    for _ in range(3):
        stage.submit(size=12, max_tokens=20)
    assert in_plan(stage.step()) == [1, 2, 3]
    plan = stage.step()
    assert in_plan(plan) == [1, 2]
    assert stage.scheduler.num_preemptions == 1
    late = stage.submit(size=4, max_tokens=2)
    while stage.scheduler.has_work:
        planned = in_plan(stage.step())
        assert planned
        assert late not in planned or 3 in planned or 3 in stage.ended
    assert sorted(stage.ended) == [1, 2, 3, late]


def test_a_full_pool_makes_progress_until_all_are_done() -> None:
    """H61: whatever is lost is computed again, and the oldest never loses."""
    stage = Stage(num_blocks=10, max_running=8)
    for _ in range(8):
        stage.submit(size=5, max_tokens=30)
    finished = 0
    for _ in range(2000):
        if not stage.scheduler.has_work:
            break
        plan = stage.step()
        assert in_plan(plan)[0] == finished + 1, "the oldest has its turn in every step"
        finished = len(stage.ended)
    assert stage.ended == list(range(1, 9))
    assert stage.scheduler.num_preemptions > 8


def test_a_cancelled_sequence_gives_its_place_to_the_next_one_in_the_next_step() -> None:
    """H57."""
    stage = Stage(num_blocks=4, max_running=1)
    stage.submit(size=1, max_tokens=9)
    stage.submit(size=1, max_tokens=9)
    assert in_plan(stage.step()) == [1]
    stage.requests.cancel(1)
    assert in_plan(stage.step()) == [2]


def test_paused_sequences_hold_no_place_and_give_up_their_blocks_before_others_do() -> None:
    stage = Stage(num_blocks=8, max_running=1)
    stage.submit(size=16, max_tokens=9)
    stage.step()
    stage.requests.set_paused(1, is_paused=True)
    assert not stage.scheduler.has_work
    stage.submit(size=4, max_tokens=2)
    assert in_plan(stage.step()) == [2]
    assert stage.scheduler.num_preemptions == 0
    stage.submit(size=20, max_tokens=2)
    while stage.scheduler.has_work:
        stage.step()
    assert stage.ended == [2, 3]
    assert stage.scheduler.num_preemptions == 1
    stage.requests.set_paused(1, is_paused=False)
    while stage.scheduler.has_work:
        stage.step()
    assert stage.ended == [2, 3, 1]


@pytest.mark.parametrize(
    ("max_running", "num_inspected"), [(1, 1), (2, 1), (4, 1), (8, 2), (32, 2)]
)
def test_those_who_inspect_have_at_most_a_quarter_of_the_places(
    max_running: int, num_inspected: int
) -> None:
    stage = Stage(num_blocks=400, max_running=max_running)
    inspected = [stage.submit(size=4, max_tokens=9, inspect=Inspection(3)) for _ in range(4)]
    assert in_plan(stage.step()) == inspected[:num_inspected]
    plain = [stage.submit(size=1, max_tokens=9) for _ in range(max_running)]
    planned = in_plan(stage.step())
    assert len(set(planned) & set(plain)) == max_running - num_inspected


def test_other_choices_wait_for_the_prompt_and_then_take_its_blocks() -> None:
    stage = Stage(num_blocks=20, max_running=4, max_step_tokens=16)
    stage.submit(size=18, max_tokens=3, num_choices=3)
    assert stage.scheduler.num_waiting == 3
    stage.step()
    stage.step()
    assert (stage.scheduler.num_running, stage.scheduler.num_waiting) == (1, 2)
    plan = stage.step()
    assert [chunk.num_tokens for chunk in plan.chunks] == [1, 2, 2]
    assert stage.tables.num_reused_tokens == 32


def test_a_choice_inherits_the_prompt_of_one_that_is_cancelled() -> None:
    stage = Stage(num_blocks=20, max_running=1, max_step_tokens=16)
    stage.submit(size=40, max_tokens=2, num_choices=3)
    stage.step()
    stage.requests.cancel(1, choice=0)
    while stage.scheduler.has_work:
        stage.step()
    assert stage.ended == [1, 1]
    assert stage.tables.num_reused_tokens == 36


def test_a_prompt_is_given_what_the_streams_can_spare() -> None:
    """H58, outside deterministic mode: from the measured times."""
    pace = StepPace(max_step_tokens=1000, is_fixed=False)
    assert pace.prompt_tokens(num_streams=0) == FIXED_PROMPT_TOKENS_ALONE
    for _ in range(50):
        pace.note(num_streams=4, num_prompt_tokens=0, seconds=0.010)
        pace.note(num_streams=4, num_prompt_tokens=100, seconds=0.030)
    # A token of a prompt takes 0.2 ms; 15 ms are to spare beside steps of 10 ms.
    assert pace.prompt_tokens(num_streams=4) == pytest.approx(75, abs=2)
    assert pace.prompt_tokens(num_streams=0) == 1000
    for _ in range(50):
        pace.note(num_streams=0, num_prompt_tokens=10, seconds=1.0)
    assert pace.prompt_tokens(num_streams=4) == MIN_PROMPT_TOKENS
    assert pace.prompt_tokens(num_streams=0) == MIN_PROMPT_TOKENS


@pytest.mark.parametrize("stream_seconds", [0.0005, 0.010, 0.040])
def test_on_a_cpu_prompts_get_20_ms_beside_streams_whose_steps_are_shorter(
    stream_seconds: float,
) -> None:
    """There H58's three times hold from steps of 13 ms on; below, 20 ms more are the bound."""
    pace = StepPace(max_step_tokens=100_000, is_fixed=CpuExecutor.has_fixed_steps)
    pace.least_prompt_tokens = CpuExecutor.least_prompt_tokens
    pace.least_prompt_seconds = CpuExecutor.least_prompt_seconds
    for _ in range(50):
        pace.note(num_streams=4, num_prompt_tokens=0, seconds=stream_seconds)
        pace.note(num_streams=4, num_prompt_tokens=100, seconds=stream_seconds + 0.01)
    num_tokens = pace.prompt_tokens(num_streams=4)
    gap = pace.expected_seconds(num_streams=4, num_prompt_tokens=num_tokens)
    bound = max(3 * stream_seconds, stream_seconds + 0.020)
    assert 0.8 * bound < gap <= 1.001 * bound


def test_in_deterministic_mode_the_clock_has_no_say() -> None:
    pace = StepPace(max_step_tokens=1000, is_fixed=True)
    before = [pace.prompt_tokens(num_streams=number) for number in (0, 1, 990)]
    pace.note(num_streams=0, num_prompt_tokens=10, seconds=5.0)
    pace.note(num_streams=4, num_prompt_tokens=0, seconds=0.001)
    assert [pace.prompt_tokens(num_streams=number) for number in (0, 1, 990)] == before


def test_limits_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="max_running must be at least 1, got 0"):
        Stage(num_blocks=4, max_running=0)
    with pytest.raises(ValueError, match=r"max_running must be at most 64, .* got 65"):
        Stage(num_blocks=4, max_running=65)
    with pytest.raises(ValueError, match="max_step_tokens must be at least 16, got 15"):
        Stage(num_blocks=4, max_step_tokens=15)
