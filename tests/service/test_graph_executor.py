"""Recorded steps: the same logits as the reference's, whatever shares the step or lay in the cache.

Here the recorder only runs the step again, so that shapes, padding and blocks are tried on any
machine; what CUDA itself records is tried where there is a GPU.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from model.transformer import Transformer
from service.engine.eager_executor import EagerExecutor
from service.engine.engine import Engine
from service.engine.executor import ChunkInput, Executor, LogitsWanted, NotDeterministicError
from service.engine.graph_executor import GraphExecutor, Recorder, cuda_graph_recorder
from service.engine.messages import Submit
from tests.service.engine_runs import CONTEXT, VOCABULARY, Heard, new_model

NUM_BLOCKS = 60
MAX_ROWS = 4


class CountingRecorder:
    """Repeats by running again, and counts."""

    def __init__(self) -> None:
        self.num_recorded = 0
        self.num_repeated = 0

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        self.num_recorded += 1
        run()

        def repeat() -> None:
            self.num_repeated += 1
            run()

        return repeat


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


def graphs(model: Transformer, recorder: Recorder, *, context: int = CONTEXT) -> GraphExecutor:
    return GraphExecutor(
        model,
        num_blocks=NUM_BLOCKS,
        max_rows=MAX_ROWS,
        context_tokens=context,
        recorder=recorder,
    )


def eager(model: Transformer) -> EagerExecutor:
    return EagerExecutor(model, num_blocks=NUM_BLOCKS, deterministic=False)


def answers(executor: Executor) -> Heard:
    """Seven requests of all lengths over one another, greedy and drawn."""
    engine = Engine(executor, max_running=MAX_ROWS, max_step_tokens=50)
    heard = Heard()
    for number, length in enumerate((1, 3, 17, 64, 65, 130, 220)):
        prompt = [(number * 31 + place * place) % VOCABULARY for place in range(length)]
        engine.submit(
            Submit(
                request_id=number,
                prompt_ids=prompt,
                max_tokens=12,
                temperature=0.8 * (number % 2),
                seed=number,
                logprobs=2,
            )
        )
        heard.take(engine.step().outputs)
    while engine.has_work:
        heard.take(engine.step().outputs)
        engine.check_conservation()
    return heard


def test_an_engine_gives_the_same_tokens_with_recorded_steps(model: Transformer) -> None:
    recorder = CountingRecorder()
    executor = graphs(model, recorder)
    assert recorder.num_recorded == 3 * 4  # 1, 2 and 4 rows; 64, 128, 256 and 320 tokens
    found, expected = answers(executor), answers(eager(model))
    assert found.tokens == expected.tokens
    assert recorder.num_repeated > 10
    for key, logprobs in expected.logprobs.items():
        ours = [report.logprob for report in found.logprobs[key]]
        assert ours == pytest.approx([report.logprob for report in logprobs], abs=1e-3)


def filled(executor: Executor, lengths: list[int]) -> list[ChunkInput]:
    """Compute texts of some lengths, and return the step that comes after them."""
    chunks: list[ChunkInput] = []
    for owner, length in enumerate(lengths):
        ids = [(owner + 3 * place) % VOCABULARY for place in range(length)]
        blocks = list(range(owner * 15, owner * 15 + 15))[::-1]
        if length:
            executor.compute([ChunkInput(token_ids=ids, start=0, block_ids=blocks)])
        chunks.append(ChunkInput(token_ids=[owner + 1], start=length, block_ids=blocks))
    return chunks


@pytest.mark.parametrize("lengths", [[0], [63, 64], [5, 127, 128], [1, 200, 16, 15]])
def test_a_recorded_step_has_the_logits_of_the_reference(
    model: Transformer, lengths: list[int]
) -> None:
    recorder = CountingRecorder()
    ours, reference = graphs(model, recorder), eager(model)
    found, expected = (
        ours.compute(filled(ours, lengths)),
        reference.compute(filled(reference, lengths)),
    )
    assert recorder.num_repeated > 0
    assert found.rows == expected.rows
    assert torch.allclose(found.logits_RV, expected.logits_RV, atol=1e-4)
    # Twice the same: nothing of a step stays behind for the next but what is in the cache.
    again = ours.compute(filled(ours, lengths))
    assert torch.equal(again.logits_RV, found.logits_RV)


def test_what_a_foreign_block_holds_reaches_nobody(model: Transformer) -> None:
    ours = graphs(model, CountingRecorder())
    chunks = filled(ours, [20, 70])
    expected = ours.compute(chunks).logits_RV
    cache = ours._eager.kv_cache  # pyright: ignore[reportPrivateUsage]
    for pool in (*cache.keys, *cache.values):
        # Beyond both rows' tokens in their last blocks, in all blocks of others, in the spare one.
        places = [chunk.block_ids[chunk.start // 16] * 16 + 15 for chunk in chunks]
        pool[:, places] = float("nan")
        pool[:, 30 * 16 :] = float("nan")
    assert torch.equal(ours.compute(chunks).logits_RV, expected)


def test_other_steps_are_those_of_the_reference(model: Transformer) -> None:
    recorder = CountingRecorder()
    ours, reference = graphs(model, recorder), eager(model)
    for change in ("inspected", "no logits", "two tokens"):
        steps: list[torch.Tensor] = []
        for executor in (ours, reference):
            first, second = filled(executor, [20, 30])
            match change:
                case "inspected":
                    second = replace(second, is_inspected=True)
                case "no logits":
                    second = replace(second, logits=LogitsWanted.NONE)
                case _:
                    second = replace(second, token_ids=[3, 4])
            computed = executor.compute([first, second])
            assert bool(computed.inspected) == (change == "inspected")
            steps.append(computed.logits_RV)
        assert torch.equal(*steps)
    assert recorder.num_repeated == 0


def test_a_row_beyond_the_models_context_or_its_blocks_is_refused(model: Transformer) -> None:
    ours = graphs(model, CountingRecorder())
    with pytest.raises(ValueError, match=f"at most {CONTEXT} tokens"):
        ours.compute([ChunkInput(token_ids=[1], start=CONTEXT, block_ids=list(range(40)))])
    with pytest.raises(ValueError, match="2 blocks hold 32 tokens, got 33"):
        ours.compute([ChunkInput(token_ids=[1], start=32, block_ids=[0, 1])])


def test_the_spare_block_is_not_offered(model: Transformer) -> None:
    ours = graphs(model, CountingRecorder())
    assert ours.num_blocks == NUM_BLOCKS
    assert ours.kv_cache_bytes > eager(model).kv_cache_bytes


def test_deterministic_mode_is_refused(model: Transformer) -> None:
    with pytest.raises(NotDeterministicError, match="cuda-graphs"):
        GraphExecutor(
            model,
            num_blocks=NUM_BLOCKS,
            max_rows=1,
            context_tokens=64,
            deterministic=True,
            recorder=CountingRecorder(),
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_an_engine_gives_the_same_tokens_with_real_cuda_graphs() -> None:
    on_gpu = new_model().cuda()
    found = answers(graphs(on_gpu, cuda_graph_recorder()))
    assert found.tokens == answers(eager(on_gpu)).tokens
