"""Runs ahead that fail when their tokens are asked for: an ordinary step is made in their place."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from campaigns.broken_builds import sampler_in_torch
from model.transformer import Transformer
from service.engine import drawn_rows, looking_ahead, sampler
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.kernel_library import KernelError
from service.engine.drawn_rows import DrawnRow
from service.engine.engine import Engine
from service.engine.executor import ChunkInput, ComputedStep
from service.engine.messages import EngineFinish, Submit
from tests.service.engine_runs import VOCABULARY, Heard, new_model
from tests.service.packed_models import cpu_executor

MARK = 11


class FailingExecutor(CpuExecutor):
    """Fails after some steps of those runs that are at fault."""

    num_runs = 0
    num_good_steps = 0
    error: Exception = MemoryError("no room for a run")
    is_at_fault: Callable[[Sequence[DrawnRow]], bool]
    may_compute: Callable[[Sequence[ChunkInput]], bool]
    rows: Sequence[DrawnRow] = ()

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        if not self.may_compute(chunks):
            raise self.error
        return super().compute(chunks)

    def draw_ahead(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        self.rows = rows
        return self._run(super().draw_ahead(rows, num_steps=num_steps))

    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        return self._run(super().draw_on(num_steps=num_steps))

    def _run(self, drawn: Iterator[list[int]]) -> Iterator[list[int]]:
        self.num_runs += 1
        is_at_fault = self.is_at_fault(self.rows)
        for number, ids in enumerate(drawn):
            if is_at_fault and number == self.num_good_steps:
                raise self.error
            yield ids


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


@pytest.fixture
def executor(model: Transformer) -> FailingExecutor:
    made = cpu_executor(model, num_blocks=40, num_threads=1)
    made.__class__ = FailingExecutor
    assert isinstance(made, FailingExecutor)
    made.is_at_fault = lambda rows: False
    made.may_compute = lambda chunks: True
    return made


def request(number: int) -> Submit:
    return Submit(
        request_id=number,
        prompt_ids=[number + 1, 3, 5],
        max_tokens=30,
        temperature=0.9,
        seed=number,
    )


def play(executor: CpuExecutor, *requests: Submit) -> Heard:
    engine, heard = Engine(executor, max_running=4), Heard()
    for each in requests:
        engine.submit(each)
    while engine.has_work:
        heard.take(engine.step().outputs)
        engine.check_conservation()
    assert engine.is_empty
    return heard


@pytest.mark.parametrize("num_good_steps", [0, 1])
@pytest.mark.parametrize("period", [1, 3])
def test_a_run_that_fails_costs_nobody_a_token(
    executor: FailingExecutor, num_good_steps: int, period: int
) -> None:
    """H50: nobody ends, nobody's tokens change, whatever had come of the run."""
    requests = [request(number) for number in range(3)]
    expected = play(executor, *requests)
    executor.num_runs = 0
    executor.is_at_fault = lambda rows: executor.num_runs % period == 0
    executor.num_good_steps = num_good_steps
    heard = play(executor, *requests)
    assert executor.num_runs > 3
    assert heard.tokens == expected.tokens
    assert heard.ends == expected.ends


def test_a_run_that_one_request_lets_fail_ends_that_request_only(
    executor: FailingExecutor,
) -> None:
    """H45."""
    requests = [request(number) for number in (1, 2, MARK)]
    expected = play(executor, *requests)
    failed: list[Sequence[int]] = []

    def is_at_fault(rows: Sequence[DrawnRow]) -> bool:
        marked = [row.block_ids for row in rows if row.seed == MARK]
        failed.extend(marked)
        return bool(marked)

    executor.is_at_fault = is_at_fault
    executor.may_compute = lambda chunks: all(chunk.block_ids not in failed for chunk in chunks)
    executor.error = KernelError("a bug")
    heard = play(executor, *requests)
    assert heard.ends.pop((MARK, 0)) is EngineFinish.INTERNAL_ERROR
    assert expected.ends.pop((MARK, 0)) is EngineFinish.LENGTH
    assert heard.ends == expected.ends
    got, whole = heard.tokens.pop((MARK, 0)), expected.tokens.pop((MARK, 0))
    assert 0 < len(got) < len(whole)
    assert got == whole[: len(got)]
    assert heard.tokens == expected.tokens


def test_a_token_that_the_kernels_refuse_ends_its_request_only(model: Transformer) -> None:
    executor = cpu_executor(model, num_blocks=40, num_threads=1)
    good = [request(number) for number in range(2)]
    expected = play(executor, *good)
    bad = Submit(request_id=9, prompt_ids=[VOCABULARY], max_tokens=5)
    assert play(executor, bad).ends == {(9, 0): EngineFinish.INTERNAL_ERROR}
    heard = play(executor, bad, *good)
    assert heard.ends.pop((9, 0)) is EngineFinish.INTERNAL_ERROR
    assert heard.ends == expected.ends
    assert {key: heard.tokens[key] for key in expected.tokens} == expected.tokens


def test_a_request_that_has_no_row_fails_alone(
    executor: FailingExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(sequence: object) -> None:
        raise TypeError("it cannot be written down")

    expected = play(executor, request(1))
    monkeypatch.setattr(looking_ahead, "native_settings", refuse)
    assert play(executor, request(1)).tokens == expected.tokens


def test_where_all_is_drawn_in_torch_nothing_runs_ahead(
    executor: FailingExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = play(executor, request(1))
    assert executor.num_runs > 0
    executor.num_runs = 0
    monkeypatch.setattr(sampler, "draw_natively", sampler.draw_natively)
    monkeypatch.setattr(looking_ahead, "DrawsAhead", drawn_rows.DrawsAhead)
    sampler_in_torch.draw_only_in_torch()
    assert play(executor, request(1)).tokens == expected.tokens
    assert executor.num_runs == 0
