"""Several tokens of a stream in one step, and the next such step while this one is told.

The executor is that for GPUs over kernels in plain torch, which computes when it is asked.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar

import pytest

from model.transformer import Transformer
from service.engine.drawn_rows import DrawnRow
from service.engine.eager_executor import EagerExecutor
from service.engine.engine import Engine
from service.engine.executor import ChunkInput, ComputedStep, Executor
from service.engine.graph_executor import GraphExecutor
from service.engine.messages import Submit
from service.engine.step_pace import StepPace
from tests.service import plain_kernels
from tests.service.engine_runs import CONTEXT, Heard, new_model
from tests.service.plain_kernels import CountingRecorder


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


Graphs = TypeVar("Graphs", bound=GraphExecutor)


def graphs(model: Transformer) -> GraphExecutor:
    return graphs_of(GraphExecutor, model)


def graphs_of(kind: type[Graphs], model: Transformer) -> Graphs:
    return kind(
        model,
        num_blocks=60,
        max_rows=4,
        context_tokens=CONTEXT,
        kernels=plain_kernels,
        recorder=CountingRecorder(),
    )


def stream(number: int, *, num_prompt_tokens: int = 9, max_tokens: int = 60) -> Submit:
    prompt_ids = [number + 1] * num_prompt_tokens
    return Submit(request_id=number, prompt_ids=prompt_ids, max_tokens=max_tokens, seed=number)


def heard_of(executor: Executor, *, num_streams: int = 3) -> Heard:
    engine, heard = Engine(executor, max_running=4), Heard()
    for number in range(num_streams):
        engine.submit(stream(number))
    while engine.has_work:
        heard.take(engine.step().outputs)
        engine.check_conservation()
    return heard


def test_a_device_that_cannot_go_on_loses_nobody_a_token(
    model: Transformer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = heard_of(graphs(model))
    asked: list[int] = []

    def fail(_: GraphExecutor, *, num_steps: int) -> Iterator[list[int]]:
        asked.append(num_steps)
        raise RuntimeError("the device is busy")

    monkeypatch.setattr(GraphExecutor, "draw_on", fail)
    with caplog.at_level(logging.WARNING):
        found = heard_of(graphs(model))
    assert asked
    assert caplog.messages == ["going on ahead failed: RuntimeError"] * len(asked)
    assert found.tokens == expected.tokens
    assert found.ends == expected.ends


class SteadyDevice(GraphExecutor):
    """Takes 0.95 ms of a clock of its own for each token drawn ahead, 20 for any other step."""

    now = 0.0
    ends = 0.0

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        self.now = max(self.now, self.ends) + 0.02
        return super().compute(chunks)

    def draw_ahead(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        return self._timed(super().draw_ahead(rows, num_steps=num_steps), num_steps)

    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        return self._timed(super().draw_on(num_steps=num_steps), num_steps)

    def _timed(self, drawn: Iterator[list[int]], num_steps: int) -> Iterator[list[int]]:
        self.ends = max(self.ends, self.now) + 0.00095 * num_steps
        return self._waited(drawn, self.ends)

    def _waited(self, drawn: Iterator[list[int]], ends: float) -> Iterator[list[int]]:
        yield from drawn
        self.now = max(self.now, ends)


def test_a_pause_of_the_streams_is_no_time_of_the_device(model: Transformer) -> None:
    device = graphs_of(SteadyDevice, model)
    engine = Engine(device, max_running=2, clock=lambda: device.now)
    engine.submit(stream(0, max_tokens=200))
    for _ in range(4):
        engine.step()
    before = engine.step().num_tokens
    # With nothing to compute no step is made.
    engine.set_paused(0, is_paused=True)
    device.now += 3600.0
    engine.set_paused(0, is_paused=False)
    engine.step()
    assert before > 8
    assert [engine.step().num_tokens for _ in range(4)] == [before] * 4


def test_who_joins_a_running_look_ahead_has_tokens_in_the_next_step(model: Transformer) -> None:
    engine, heard = Engine(graphs(model), max_running=2), Heard()
    for number in range(2):
        engine.submit(stream(number, max_tokens=200))
    for _ in range(4):
        engine.step()
    engine.set_paused(1, is_paused=True)
    for _ in range(3):
        engine.step()
    # It is not in what is queued now.
    engine.set_paused(1, is_paused=False)
    for _ in range(2):
        heard.take(engine.step().outputs)
    assert heard.tokens[1, 0]


def test_a_step_counts_the_tokens_that_somebody_gets(model: Transformer) -> None:
    device, num_counted = graphs_of(SteadyDevice, model), 0
    engine = Engine(device, max_running=3, clock=lambda: device.now)
    for number in range(3):
        # One token comes with the prompt, all others are drawn ahead.
        engine.submit(stream(number, num_prompt_tokens=8, max_tokens=20 + 7 * number))
    while engine.has_work:
        num_counted += engine.step().num_tokens
    assert num_counted == 3 * 8 + 19 + 26 + 33


def test_a_step_that_was_begun_before_teaches_nothing_about_prompts() -> None:
    pace = StepPace(max_step_tokens=1024, is_fixed=False)
    pace.note(num_streams=3, num_prompt_tokens=0, seconds=0.001)
    assert pace.expected_seconds(num_streams=3, num_prompt_tokens=50) == 0.001
    pace.note(num_streams=3, num_prompt_tokens=100, seconds=0.003)
    assert pace.expected_seconds(num_streams=3, num_prompt_tokens=50) == pytest.approx(0.002)
    before = pace.prompt_tokens(num_streams=3)
    for _ in range(20):
        expected = pace.expected_seconds(num_streams=3, num_prompt_tokens=40)
        pace.note(num_streams=3, num_prompt_tokens=40, seconds=expected)
    assert abs(pace.prompt_tokens(num_streams=3) - before) <= 1


def test_a_prompt_beside_what_was_queued_leaves_the_pace_alone(model: Transformer) -> None:
    device = graphs_of(SteadyDevice, model)
    engine = Engine(device, max_running=2, clock=lambda: device.now)
    engine.submit(stream(0, max_tokens=200))
    for _ in range(4):
        engine.step()
    pace = engine._pace  # pyright: ignore[reportPrivateUsage]
    before = pace.expected_seconds(num_streams=1, num_prompt_tokens=100)
    # Half of the queued tokens are there when the prompt comes.
    device.now += 0.006
    engine.submit(stream(1, num_prompt_tokens=5))
    assert engine.step().counters.num_mixed_steps == 1
    assert pace.expected_seconds(num_streams=1, num_prompt_tokens=100) == pytest.approx(before)


def test_who_joins_or_leaves_while_the_device_goes_on_changes_nobodys_tokens(
    model: Transformer,
) -> None:
    def tokens(executor: Executor, *, has_disturbance: bool) -> dict[tuple[int, int], list[int]]:
        engine, heard = Engine(executor, max_running=4), Heard()
        for number in range(3):
            prompt_ids = [number + 1] * 9
            engine.submit(
                Submit(request_id=number, prompt_ids=prompt_ids, max_tokens=30, seed=number)
            )
        for number in range(100):
            if has_disturbance and number == 6:
                engine.cancel(0)
                engine.set_paused(1, is_paused=True)
            if has_disturbance and number == 8:
                engine.submit(Submit(request_id=3, prompt_ids=[5] * 20, max_tokens=9, seed=3))
                engine.set_paused(1, is_paused=False)
            heard.take(engine.step().outputs)
            engine.check_conservation()
        assert engine.is_empty
        return {key: ids for key, ids in heard.tokens.items() if key[0] in (1, 2)}

    expected = tokens(
        EagerExecutor(model, num_blocks=60, deterministic=False), has_disturbance=False
    )
    assert tokens(graphs(model), has_disturbance=True) == expected
    assert [len(ids) for ids in expected.values()] == [30, 30]
