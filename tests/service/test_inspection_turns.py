"""Those who inspect have their turn beside those who stream, and not more than that."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest

from service.engine.drawn_rows import DrawnRow
from service.engine.engine import Engine
from service.engine.executor import ChunkInput
from service.engine.inspection_pace import FIXED_STEPS_BETWEEN_TURNS, SHARE_OF_STEPS, Inspector
from service.engine.messages import Submit
from service.engine.scheduler import (
    INSPECTED_TOKENS_BESIDE_OTHERS,
    MAX_INSPECTED,
    TRACED_TOKENS_BESIDE_OTHERS,
)
from service.engine.trace_messages import Inspection
from tests.service.remembering_executor import RememberingExecutor
from tests.service.work_done import num_lines

STREAM_SECONDS = 0.01


class DrawingExecutor(RememberingExecutor):
    """Draws several tokens of each stream itself, as an executor on a device does.

    Attributes:
        before_draw: Called before each of them.
    """

    max_steps_ahead = 8
    seconds_ahead = 0.012
    least_prompt_tokens = 16
    draws_beside_prompts = True
    least_prompt_seconds = 0.0

    def __init__(self, *, num_blocks: int) -> None:
        super().__init__(num_blocks=num_blocks)
        self.before_draw: Callable[[], None] = lambda: None
        self.num_rows = 0

    def draw_ahead(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        self.num_rows = len(rows)
        return self.draw_on(num_steps=num_steps)

    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        for _ in range(num_steps):
            self.before_draw()
            yield [1] * self.num_rows


class Scene:
    """An engine whose steps take as long as is said: by default as long as what they compute."""

    def __init__(
        self,
        *,
        is_deterministic: bool = True,
        num_blocks: int = 400,
        is_drawing: bool = False,
        stream_seconds: float = STREAM_SECONDS,
        # Ten times as dear as a token of a stream.
        explained_seconds: float = 0.1 * STREAM_SECONDS,
    ) -> None:
        self.now = 0.0
        self.computed: Sequence[ChunkInput] = ()
        self.stream_seconds = stream_seconds
        self.explained_seconds = explained_seconds
        executor_class = DrawingExecutor if is_drawing else RememberingExecutor
        executor = executor_class(num_blocks=num_blocks)
        if isinstance(executor, DrawingExecutor):
            executor.before_draw = self.draw
        executor.is_deterministic = executor.has_fixed_steps = is_deterministic
        executor.before_compute = self.compute
        self.engine = Engine(executor, max_running=8, clock=lambda: self.now)
        self.num_submitted = 0

    def compute(self, chunks: Sequence[ChunkInput]) -> None:
        self.computed = chunks
        num_explained = sum(len(chunk.token_ids) for chunk in chunks if chunk.is_explained)
        self.now += self.stream_seconds + self.explained_seconds * num_explained

    def draw(self) -> None:
        self.now += self.stream_seconds

    def submit(self, *, size: int = 3, max_tokens: int = 400, inspect: Inspection | None) -> int:
        self.num_submitted += 1
        self.engine.submit(
            Submit(
                request_id=self.num_submitted,
                prompt_ids=[self.num_submitted] * size,
                max_tokens=max_tokens,
                inspect=inspect,
            )
        )
        return self.num_submitted

    def steps(self, number: int) -> list[Counter[int]]:
        """Tokens made for each request, step by step."""
        made: list[Counter[int]] = []
        for _ in range(number):
            outputs = self.engine.step().outputs
            made.append(Counter({output.request_id: len(output.token_ids) for output in outputs}))
            self.engine.check_conservation()
        return made


def test_in_deterministic_mode_few_steps_take_inspected_sequences_along() -> None:
    scene = Scene()
    streams = [scene.submit(inspect=None) for _ in range(3)]
    inspected = [scene.submit(inspect=Inspection(5)) for _ in range(MAX_INSPECTED + 1)]
    scene.steps(2 * FIXED_STEPS_BETWEEN_TURNS)
    made = scene.steps(4 * (FIXED_STEPS_BETWEEN_TURNS + 1))
    assert all(step[stream] == 1 for step in made for stream in streams)
    assert [sum(step[each] for step in made) for each in inspected] == [4, 4, 0]
    assert all(step[inspected[0]] == step[inspected[1]] for step in made)


def test_one_who_inspects_waits_for_nobody_else_who_does_not_stream() -> None:
    scene = Scene()
    inspected = scene.submit(inspect=Inspection(5))
    assert [step[inspected] for step in scene.steps(20)] == [1] * 20


def test_more_of_them_wait_without_holding_up_those_behind_them() -> None:
    scene = Scene()
    inspected = [
        scene.submit(max_tokens=6, inspect=Inspection(5)) for _ in range(3 * MAX_INSPECTED)
    ]
    stream = scene.submit(max_tokens=9, inspect=None)
    made = scene.steps(2)
    assert sum(step[stream] for step in made) == 2
    while scene.engine.has_work:
        made += scene.steps(1)
    assert sum(made, Counter[int]()) == Counter(dict.fromkeys(inspected, 6) | {stream: 9})
    assert all(sum(step[each] for each in inspected) <= MAX_INSPECTED for step in made)


def test_a_step_looks_at_none_of_those_who_wait_for_a_place() -> None:
    """However many there are."""
    worked: list[int] = []
    for num_waiting in (1, 300):
        scene = Scene()
        scene.submit(inspect=None)
        for _ in range(MAX_INSPECTED + num_waiting):
            scene.submit(max_tokens=50, inspect=Inspection(5))
        scene.steps(3)
        worked.append(num_lines(scene.engine.step))
    assert worked[0] == worked[1] > 0


@pytest.mark.parametrize("first", [None, 1])
def test_their_prompts_come_in_small_pieces_beside_streams(first: int | None) -> None:
    scene = Scene()
    scene.submit(inspect=None)
    scene.steps(2)
    size = 90
    max_tokens = 4 if first is None else 0
    limit = INSPECTED_TOKENS_BESIDE_OTHERS if first is None else TRACED_TOKENS_BESIDE_OTHERS
    scene.submit(size=size, max_tokens=max_tokens, inspect=Inspection(5, first_position=first))
    pieces: list[int] = []
    for _ in range(5 * FIXED_STEPS_BETWEEN_TURNS):
        scene.steps(1)
        pieces += [len(each.token_ids) for each in scene.computed if each.is_explained]
    assert max(pieces) == limit
    assert len(pieces) >= 4


def test_outside_deterministic_mode_streams_lose_a_share_of_their_time_at_most() -> None:
    """Measured: whatever a turn costs, as many steps without one make up for it."""
    scene = Scene(is_deterministic=False)
    for _ in range(3):
        scene.submit(inspect=None)
    scene.steps(20)
    for _ in range(2):
        scene.submit(inspect=Inspection(5))
        scene.submit(size=300, max_tokens=0, inspect=Inspection(5, first_position=1))
    began = scene.now
    made = scene.steps(150)
    seconds = scene.now - began
    assert seconds <= 150 * STREAM_SECONDS * (1 + 1.5 * SHARE_OF_STEPS)
    assert sum(step[4] for step in made) > 4


def test_streams_that_are_drawn_ahead_make_up_for_inspections_by_all_of_their_time() -> None:
    """A step of several tokens counts as several."""
    scene = Scene(
        is_deterministic=False, is_drawing=True, stream_seconds=0.001, explained_seconds=0.005
    )
    stream = scene.submit(max_tokens=1500, inspect=None)
    scene.steps(10)
    inspected = scene.submit(inspect=Inspection(5))
    began = scene.now
    made = scene.steps(120)
    assert max(step[stream] for step in made) == DrawingExecutor.max_steps_ahead
    share = sum(step[inspected] for step in made) * scene.explained_seconds / (scene.now - began)
    assert 0.5 * SHARE_OF_STEPS < share < 1.2 * SHARE_OF_STEPS


def test_what_is_asked_between_steps_has_half_of_the_turns_and_all_when_nobody_else_asks() -> None:
    """All who inspect together take what one alone may take."""
    scene = Scene()
    pace = scene.engine.inspection_pace
    pace.note_turn(Inspector.QUESTIONS, 5.0)
    assert pace.has_turn(Inspector.QUESTIONS), "nobody streams"
    scene.submit(inspect=None)
    scene.steps(1)

    def turns() -> int:
        number = 0
        for _ in range(8 * (FIXED_STEPS_BETWEEN_TURNS + 1)):
            if pace.has_turn(Inspector.QUESTIONS):
                number += 1
                pace.note_turn(Inspector.QUESTIONS, 0.5)
            made.extend(scene.steps(1))
        return number

    made: list[Counter[int]] = []
    assert turns() in (8, 9)
    inspected = scene.submit(inspect=Inspection(5))
    made.clear()
    assert turns() in (4, 5)
    assert sum(step[inspected] for step in made) in (4, 5)
    scene.engine.cancel(inspected)


def test_a_stream_that_loses_its_blocks_leaves_the_step_to_those_who_inspect() -> None:
    """H60: there is no step without work while anybody waits for it."""
    scene = Scene(num_blocks=8)
    scene.submit(size=9, max_tokens=20, inspect=Inspection(5))
    scene.steps(1)
    scene.submit(size=9, max_tokens=20, inspect=None)
    while scene.engine.has_work:
        scene.steps(1)
        assert scene.computed
        assert scene.engine.stalled_seconds == 0.0
    assert scene.engine.is_empty
