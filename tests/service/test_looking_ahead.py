"""Several tokens of a stream in one step, and the next such step while this one is told.

The executor is that for GPUs over kernels in plain torch, which computes when it is asked.
"""

import logging
from collections.abc import Iterator

import pytest

from model.transformer import Transformer
from service.engine.engine import Engine
from service.engine.executor import Executor
from service.engine.graph_executor import GraphExecutor
from service.engine.messages import Submit
from tests.service import plain_kernels
from tests.service.engine_runs import CONTEXT, Heard, new_model
from tests.service.plain_kernels import CountingRecorder


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


def graphs(model: Transformer) -> GraphExecutor:
    return GraphExecutor(
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
