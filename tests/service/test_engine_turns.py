"""Two models of one version in a process: each is asked by its kind, and they share the time."""

import socket
from collections import Counter
from collections.abc import Iterator
from typing import cast

import pytest
from msgspec.structs import replace

from service.engine.engine import Engine
from service.engine.frames import FromEngine, ToEngine
from service.engine.inspection_pace import SHARE_OF_STEPS, InspectionPace
from service.engine.messages import Cancel, EngineFinish, ModelKind, StepOutput, Submit, TokenOutput
from service.engine.trace_messages import Inspection
from service.engine_link.engine_channel import Channel
from service.engine_process import NGRAM_SHARE, EngineLoop
from tests.service.remembering_executor import RememberingExecutor

NETWORK, NGRAM = ModelKind.TRANSFORMER, ModelKind.NGRAM


class Front:
    """What the front sends and hears."""

    def __init__(self) -> None:
        self.sent: list[ToEngine] = []
        self.heard: list[StepOutput] = []
        self.waits: list[float | None] = []

    def receive(self, *, wait_seconds: float | None) -> list[ToEngine]:
        self.waits.append(wait_seconds)
        sent, self.sent = self.sent, []
        return sent

    def send(self, message: FromEngine) -> None:
        assert isinstance(message, StepOutput)
        self.heard.append(message)

    def tokens(self, request_id: int) -> list[int]:
        outputs = (output for step in self.heard for output in step.outputs)
        return [
            token for each in outputs if each.request_id == request_id for token in each.token_ids
        ]


def new_engine(
    kind: ModelKind, *, step_seconds: float, pace: InspectionPace | None = None
) -> Engine:
    """One whose every look at the clock takes the time of a step."""

    def ticks() -> Iterator[float]:
        now = 0.0
        while True:
            yield now
            now += step_seconds

    executor = RememberingExecutor(num_blocks=256)
    clock = ticks().__next__
    return Engine(executor, max_running=4, kind=kind, clock=clock, inspection_pace=pace)


def request(number: int, kind: ModelKind, *, max_tokens: int) -> Submit:
    return Submit(request_id=number, prompt_ids=[1, 2], max_tokens=max_tokens, kind=kind)


def new_loop(*, ngram_seconds: float) -> tuple[EngineLoop, Front]:
    front, pace = Front(), InspectionPace()
    engines = [
        new_engine(NETWORK, step_seconds=0.01, pace=pace),
        new_engine(NGRAM, step_seconds=ngram_seconds, pace=pace),
    ]
    return EngineLoop(engines, cast("Channel", front)), front


def test_each_request_goes_to_its_own_model() -> None:
    loop, front = new_loop(ngram_seconds=0.001)
    front.sent = [request(1, NETWORK, max_tokens=6), request(2, NGRAM, max_tokens=4)]
    front.sent += [request(3, NETWORK, max_tokens=50), request(4, NGRAM, max_tokens=50)]
    loop.work()
    front.sent = [Cancel(3), Cancel(4)]
    loop.work()
    # Until it would sleep for want of work.
    while front.waits[-1] is not None:
        loop.work()
    assert (len(front.tokens(1)), len(front.tokens(2))) == (6, 4)
    kinds = {output.request_id: step.kind for step in front.heard for output in step.outputs}
    assert kinds == {1: NETWORK, 2: NGRAM, 3: NETWORK, 4: NGRAM}


def test_beside_a_busy_network_the_ngram_model_gets_its_share_and_alone_all() -> None:
    loop, front = new_loop(ngram_seconds=0.004)
    front.sent = [request(1, NETWORK, max_tokens=100), request(2, NGRAM, max_tokens=90)]
    while len(front.tokens(1)) < 100:
        loop.work()
    seconds: Counter[ModelKind] = Counter()
    for step in front.heard:
        seconds[step.kind] += step.seconds  # pyright: ignore[reportArgumentType]
    share = seconds[NGRAM] / seconds[NETWORK]
    assert NGRAM_SHARE * 0.8 < share <= NGRAM_SHARE * 1.1
    num_before = len(front.heard)
    while len(front.tokens(2)) < 90:
        loop.work()
    assert {step.kind for step in front.heard[num_before:]} == {NGRAM}


def test_a_short_step_of_the_ngram_model_goes_along_with_each_of_the_network() -> None:
    loop, front = new_loop(ngram_seconds=0.001)
    front.sent = [request(1, NETWORK, max_tokens=30), request(2, NGRAM, max_tokens=30)]
    while len(front.tokens(1)) < 30:
        loop.work()
    assert len(front.tokens(2)) >= 29


def test_a_model_that_is_not_here_ends_one_request_only() -> None:
    front = Front()
    engine = new_engine(NETWORK, step_seconds=0.01)
    loop = EngineLoop([engine], cast("Channel", front))
    front.sent = [request(1, NGRAM, max_tokens=2), request(2, NETWORK, max_tokens=2)]
    loop.work()
    loop.work()
    assert front.heard[0].outputs == [TokenOutput(1, 0, [], EngineFinish.INTERNAL_ERROR)]
    assert len(front.tokens(2)) == 2


def test_an_inspection_of_one_model_takes_a_share_of_the_time_of_the_others_streams() -> None:
    """Of whichever: its steps and those of the streams are never the same."""
    for inspected, streaming in ((NETWORK, NGRAM), (NGRAM, NETWORK)):
        loop, front = new_loop(ngram_seconds=0.002)
        look = replace(request(1, inspected, max_tokens=400), inspect=Inspection(3))
        front.sent = [look, request(2, streaming, max_tokens=400)]
        while len(front.tokens(2)) < 400:
            loop.work()
        seconds: Counter[ModelKind] = Counter()
        for step in front.heard:
            seconds[step.kind] += step.seconds  # pyright: ignore[reportArgumentType]
        share = seconds[inspected] / seconds[streaming]
        assert 0.5 * SHARE_OF_STEPS < share < 1.5 * SHARE_OF_STEPS
        num_before = len(front.tokens(1))
        loop.work()
        loop.work()
        assert len(front.tokens(1)) >= num_before + 1, "alone it has no limit"


class EarlyExecutor(RememberingExecutor):
    """Has runs that need not be over before somebody else has a turn."""

    descriptors: tuple[int, ...] = ()

    def end_runs_early_for(self, descriptor: int) -> None:
        self.descriptors += (descriptor,)


def test_runs_end_early_for_what_comes_from_the_front() -> None:
    executor = EarlyExecutor(num_blocks=256)
    engine_end, front_end = socket.socketpair()
    with engine_end, front_end:
        EngineLoop([Engine(executor, max_running=4)], Channel(engine_end))
        assert executor.descriptors == (engine_end.fileno(),)


def test_models_without_a_common_pace_are_refused() -> None:
    engines = [new_engine(kind, step_seconds=0.01) for kind in (NETWORK, NGRAM)]
    with pytest.raises(ValueError, match="one inspection pace"):
        EngineLoop(engines, cast("Channel", Front()))
