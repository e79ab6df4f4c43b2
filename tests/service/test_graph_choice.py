"""Which executor a GPU gets when the one for it cannot be built: Triton compiles where it runs.

Without a GPU the executor is real, over kernels in plain torch, and its recorder fails as a missing
compiler does.
"""

import logging
import weakref
from collections.abc import Callable

import pytest
import torch

from service.engine.eager_executor import EagerExecutor
from service.engine.executor import Executor, NotDeterministicError
from service.engine.executor_choice import LoadError, graphs_or_eager, named_graphs
from service.engine.graph_executor import GraphExecutor
from tests.service import plain_kernels
from tests.service.engine_runs import new_model
from tests.service.plain_kernels import CountingRecorder

NO_COMPILER = "Failed to find C compiler.\nPlease specify via CC environment variable."


class FailingRecorder:
    """Records some steps, and then fails."""

    def __init__(self, error: type[Exception] = RuntimeError, text: str = NO_COMPILER) -> None:
        self.error = error
        self.text = text
        self.runs: list[weakref.ref[Callable[[], None]]] = []

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        self.runs.append(weakref.ref(run))
        if len(self.runs) == 3:
            raise self.error(self.text)
        return run


def graphs(
    recorder: FailingRecorder | CountingRecorder, *, deterministic: bool = False
) -> GraphExecutor:
    return GraphExecutor(
        new_model(),
        num_blocks=8,
        max_rows=2,
        context_tokens=64,
        deterministic=deterministic,
        kernels=plain_kernels,
        recorder=recorder,
    )


def eager() -> EagerExecutor:
    return EagerExecutor(new_model(), num_blocks=8, deterministic=False)


def test_one_that_cannot_be_built_leaves_its_place_and_memory_to_the_eager_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = FailingRecorder()

    def eager_alone() -> Executor:
        assert [run() for run in recorder.runs] == [None] * 3
        return eager()

    with caplog.at_level(logging.INFO):
        chosen = graphs_or_eager(lambda: graphs(recorder), eager_alone, obstacle=None)
    assert chosen.name == "eager"
    assert [record.getMessage() for record in caplog.records] == [
        "the executor is eager: cuda-graphs cannot be built: RuntimeError: Failed to find C "
        "compiler. Please specify via CC environment variable."
    ]


def test_one_that_can_be_built_is_taken_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        chosen = graphs_or_eager(lambda: graphs(CountingRecorder()), eager, obstacle=None)
    assert chosen.name == "cuda-graphs"
    assert not caplog.records


def test_a_known_obstacle_is_told_and_nothing_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    recorder = FailingRecorder()
    with caplog.at_level(logging.INFO):
        chosen = graphs_or_eager(lambda: graphs(recorder), eager, obstacle="Triton")
    assert (chosen.name, recorder.runs) == ("eager", [])
    (record,) = caplog.records
    assert record.getMessage() == "the executor is eager: cuda-graphs needs Triton"


def test_one_that_was_named_is_refused_with_the_reason() -> None:
    recorder = FailingRecorder(text=NO_COMPILER + " " * 5 + "x" * 5000)
    with pytest.raises(
        LoadError, match=r"cuda-graphs cannot be built: RuntimeError: Failed"
    ) as got:
        named_graphs(lambda: graphs(recorder), obstacle=None)
    assert len(str(got.value)) < 500
    with pytest.raises(LoadError, match="cuda-graphs needs Triton"):
        named_graphs(lambda: graphs(CountingRecorder()), obstacle="Triton")


def test_what_has_a_message_of_its_own_keeps_it() -> None:
    with pytest.raises(NotDeterministicError):
        named_graphs(lambda: graphs(CountingRecorder(), deterministic=True), obstacle=None)
    recorder = FailingRecorder(torch.OutOfMemoryError)
    with pytest.raises(torch.OutOfMemoryError):
        named_graphs(lambda: graphs(recorder), obstacle=None)
