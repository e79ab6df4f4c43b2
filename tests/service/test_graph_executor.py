"""The executor for GPUs: the logits of the reference, whatever shares the step or lay in the cache.

Here its kernels are plain torch and its recorder only runs a step again, so that shapes, tables and
blocks are tried on any machine; the real ones are tried where there is an NVIDIA GPU.
"""

import importlib
from typing import cast

import pytest
import torch
from msgspec.structs import replace

from model.transformer import Transformer
from service.engine.cuda.kernels import Kernels
from service.engine.cuda.recorded_step import Recorder, cuda_graph_recorder
from service.engine.drawn_rows import NOT_COMPUTED, DrawnRow
from service.engine.eager_executor import EagerExecutor
from service.engine.engine import Engine
from service.engine.executor import ChunkInput, Executor, LogitsWanted, NotDeterministicError
from service.engine.graph_executor import GraphExecutor
from service.engine.messages import EngineFinish, Submit
from tests.service import plain_kernels
from tests.service.engine_runs import CONTEXT, VOCABULARY, Heard, new_model
from tests.service.plain_kernels import CountingRecorder

NUM_BLOCKS = 60
MAX_ROWS = 5


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


def graphs(
    model: Transformer, recorder: Recorder, *, kernels: Kernels = plain_kernels
) -> GraphExecutor:
    return GraphExecutor(
        model,
        num_blocks=NUM_BLOCKS,
        max_rows=MAX_ROWS,
        context_tokens=CONTEXT,
        kernels=kernels,
        recorder=recorder,
    )


def eager(model: Transformer) -> EagerExecutor:
    return EagerExecutor(model, num_blocks=NUM_BLOCKS, deterministic=False)


def answers(executor: Executor, *, logprobs: int | None, max_running: int = 4) -> Heard:
    """Requests of all lengths over one another, greedy and drawn, of one and of two choices."""
    engine = Engine(executor, max_running=max_running, max_step_tokens=50)
    heard = Heard()
    for number, length in enumerate((1, 3, 17, 64, 65, 130, 220)):
        prompt = [(number * 31 + place * place) % VOCABULARY for place in range(length)]
        engine.submit(
            Submit(
                request_id=number,
                prompt_ids=prompt,
                max_tokens=(12, 3, 1)[number % 3],
                min_tokens=number % 2 * 2,
                temperature=0.8 * (number % 3),
                top_k=(0, 9)[number % 2],
                top_p=(1.0, 0.9)[number % 2],
                seed=number + 2**63,
                num_choices=1 + (number == 3),
                stop_token_ids=tuple(range(0, VOCABULARY, 9)),
                logprobs=logprobs,
            )
        )
        heard.take(engine.step().outputs)
        engine.check_conservation()
    while engine.has_work:
        heard.take(engine.step().outputs)
        engine.check_conservation()
    assert engine.is_empty
    return heard


@pytest.mark.parametrize("logprobs", [2, None])
def test_an_engine_gives_the_same_tokens_as_with_the_reference(
    model: Transformer, logprobs: int | None
) -> None:
    recorder = CountingRecorder()
    found = answers(graphs(model, recorder), logprobs=logprobs)
    expected = answers(eager(model), logprobs=logprobs)
    # 1, 2, 3, 4 and 6 rows, and prompts of 32, 64, 128, 256, 512 and 1,024 tokens.
    assert recorder.num_recorded == 5 + 6
    assert recorder.num_repeated > 0
    assert found.tokens == expected.tokens
    assert found.ends == expected.ends
    assert {EngineFinish.STOP, EngineFinish.LENGTH} <= set(found.ends.values())
    for key, reports in expected.logprobs.items():
        ours = [report.logprob for report in found.logprobs[key]]
        assert ours == pytest.approx([report.logprob for report in reports], abs=1e-3)


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


@pytest.mark.parametrize("change", ["inspected", "no logits", "two tokens", "all logits"])
def test_a_mixed_step_has_the_logits_of_the_reference(model: Transformer, change: str) -> None:
    ours, reference = graphs(model, CountingRecorder()), eager(model)
    steps: list[torch.Tensor] = []
    for executor in (ours, reference):
        first, second, third = filled(executor, [40, 20, 30])
        match change:
            case "inspected":
                second = replace(second, is_inspected=True)
            case "no logits":
                second = replace(second, logits=LogitsWanted.NONE)
            case "two tokens":
                second = replace(second, token_ids=[3, 4])
            case _:
                # More rows of logits than a recorded step hands out.
                ids = [place % VOCABULARY for place in range(70)]
                second = replace(second, token_ids=ids, logits=LogitsWanted.ALL)
        computed = executor.compute([first, second, third])
        assert bool(computed.inspected) == (change == "inspected")
        assert [row.stop - row.start for row in computed.rows] == [
            1,
            {"no logits": 0, "all logits": 70}.get(change, 1),
            1,
        ]
        steps.append(computed.logits_RV)
    found, expected = steps
    assert torch.allclose(found, expected, atol=1e-4)


def test_an_inspected_chunk_leaves_its_neighbours_with_the_kernels(model: Transformer) -> None:
    ours, reference = graphs(model, recorder := CountingRecorder()), eager(model)
    first, second, third = filled(ours, [40, 20, 30])
    alone = ours.compute([first, third])
    num_before = recorder.num_repeated
    inspected = replace(second, token_ids=[3, 4], is_inspected=True, logits=LogitsWanted.ALL)
    found = ours.compute([first, inspected, third])
    assert recorder.num_repeated == num_before + 1
    assert found.rows == [slice(0, 1), slice(1, 3), slice(3, 4)]
    # The same bits: the same kernels for the same rows.
    assert torch.equal(found.logits_RV[[0, 3]], alone.logits_RV)
    filled(reference, [40, 20, 30])
    expected = reference.compute([inspected])
    assert torch.allclose(found.logits_RV[1:3], expected.logits_RV, atol=1e-4)
    seen, wanted = found.inspected[1], expected.inspected[0]
    assert torch.allclose(seen.hidden_states, wanted.hidden_states, atol=1e-4)


def test_what_a_foreign_block_holds_reaches_nobody(model: Transformer) -> None:
    ours = graphs(model, CountingRecorder())
    chunks = filled(ours, [20, 70])
    expected = ours.compute(chunks).logits_RV
    cache = ours._eager.kv_cache  # pyright: ignore[reportPrivateUsage]
    for pool in (*cache.keys, *cache.values):
        # Beyond both rows' tokens in their last blocks, and in all blocks of others.
        places = [chunk.block_ids[chunk.start // 16] * 16 + 15 for chunk in chunks]
        pool[:, places] = float("nan")
        pool[:, 30 * 16 :] = float("nan")
    assert torch.equal(ours.compute(chunks).logits_RV, expected)


def test_a_row_that_has_come_to_its_end_is_left_alone(model: Transformer) -> None:
    ours = graphs(model, CountingRecorder())
    chunks = filled(ours, [20, 31])
    rows = [
        DrawnRow(token_id=1, start=20, last=20, block_ids=chunks[0].block_ids),
        DrawnRow(token_id=2, start=31, last=33, block_ids=chunks[1].block_ids),
    ]
    cache = ours._eager.kv_cache  # pyright: ignore[reportPrivateUsage]
    untouched = chunks[0].block_ids[1] * 16 + 21 % 16
    before = cache.keys[0][:, untouched].clone()
    steps = list(ours.draw_ahead(rows, num_steps=4))
    assert [step[0] == NOT_COMPUTED for step in steps] == [False, True, True, True]
    assert [step[1] == NOT_COMPUTED for step in steps] == [False, False, False, True]
    assert torch.equal(cache.keys[0][:, untouched], before)


def test_a_request_of_which_logits_are_nan_ends_alone(model: Transformer) -> None:
    engine = Engine(executor := graphs(model, CountingRecorder()), max_running=2)
    for number in range(2):
        prompt_ids = [number + 1] * 20
        engine.submit(Submit(request_id=number, prompt_ids=prompt_ids, max_tokens=40, seed=number))
    heard = Heard()
    heard.take(engine.step().outputs)
    (sequence, _) = engine._scheduler.sequences()  # pyright: ignore[reportPrivateUsage]
    cache = executor._eager.kv_cache  # pyright: ignore[reportPrivateUsage]
    cache.values[1][:, sequence.block_ids[0] * 16] = float("nan")
    while engine.has_work:
        heard.take(engine.step().outputs)
        engine.check_conservation()
    assert list(heard.ends.values()) == [EngineFinish.NUMERICAL_ERROR, EngineFinish.LENGTH]
    assert len(heard.tokens[1, 0]) == 40


def test_scarce_blocks_shorten_the_look_ahead(model: Transformer) -> None:
    def tokens(num_blocks: int) -> dict[tuple[int, int], list[int]]:
        executor = GraphExecutor(
            model,
            num_blocks=num_blocks,
            max_rows=3,
            context_tokens=64,
            kernels=plain_kernels,
            recorder=CountingRecorder(),
        )
        engine, heard = Engine(executor, max_running=3), Heard()
        for number in range(3):
            engine.submit(
                Submit(request_id=number, prompt_ids=[number] * 10, max_tokens=40, seed=number)
            )
        while engine.has_work:
            heard.take(engine.step().outputs)
            engine.check_conservation()
        return heard.tokens

    assert tokens(5) == tokens(20)


def test_a_row_beyond_the_models_context_or_its_blocks_is_refused(model: Transformer) -> None:
    ours = graphs(model, CountingRecorder())
    with pytest.raises(ValueError, match=f"at most {CONTEXT} tokens"):
        ours.compute([ChunkInput(token_ids=[1], start=CONTEXT, block_ids=list(range(40)))])
    for ids in ([1], [1, 2]):
        with pytest.raises(ValueError, match=f"2 blocks hold 32 tokens, got {32 + len(ids)}"):
            ours.compute([ChunkInput(token_ids=ids, start=32, block_ids=[0, 1])])
        with pytest.raises(ValueError, match=f"block ids must lie in 0..{NUM_BLOCKS - 1}"):
            ours.compute([ChunkInput(token_ids=ids, start=3, block_ids=[NUM_BLOCKS])])


def test_deterministic_mode_is_refused(model: Transformer) -> None:
    with pytest.raises(NotDeterministicError, match="cuda-graphs"):
        GraphExecutor(
            model,
            num_blocks=NUM_BLOCKS,
            max_rows=1,
            context_tokens=64,
            deterministic=True,
            kernels=plain_kernels,
            recorder=CountingRecorder(),
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("logprobs", [2, None])
def test_an_engine_gives_the_same_tokens_with_real_kernels_and_graphs(
    logprobs: int | None,
) -> None:
    kernels = cast("Kernels", importlib.import_module("service.engine.cuda.triton_kernels"))
    on_gpu = new_model().cuda()
    found = answers(graphs(on_gpu, cuda_graph_recorder(), kernels=kernels), logprobs=logprobs)
    expected = answers(eager(on_gpu), logprobs=logprobs)
    assert found.tokens == expected.tokens
    assert found.ends == expected.ends
