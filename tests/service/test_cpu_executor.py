"""The compiled kernels against the reference: numbers, bits, NaN, and what is looked at."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.transformer import Transformer
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.packed_network import NumberType
from service.engine.eager_executor import EagerExecutor
from service.engine.executor import ChunkInput, ComputedStep, LogitsWanted
from tests.service.packed_models import (
    BLOCKS_EACH,
    NUM_OWNERS,
    chunk,
    cpu_executor,
    network_shape,
    new_network,
    rows,
    table,
    text,
)

# A choice is the reference's unless its own two best are closer than this.
MARGIN = 1e-4


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_network(network_shape())


@pytest.fixture(scope="module")
def executor(model: Transformer) -> CpuExecutor:
    return cpu_executor(model, num_blocks=NUM_OWNERS * BLOCKS_EACH, num_threads=2)


@settings(max_examples=30)
@given(
    vocab_size=st.integers(3, 70),
    hidden_size=st.integers(1, 70),
    intermediate_size=st.integers(1, 90),
    heads=st.sampled_from([(1, 1), (3, 3), (4, 2), (6, 1), (5, 5)]),
    head_dim=st.sampled_from([2, 4, 6, 16, 34, 64]),
    num_layers=st.integers(1, 3),
    is_tied=st.booleans(),
    family=st.sampled_from([("llama", False), ("llama", True), ("qwen2", True), ("qwen3", True)]),
    num_tokens=st.integers(1, 140),
    cut=st.integers(0, 140),
)
def test_networks_of_all_shapes_give_the_references_logits(
    vocab_size: int,
    hidden_size: int,
    intermediate_size: int,
    heads: tuple[int, int],
    head_dim: int,
    num_layers: int,
    is_tied: bool,
    family: tuple[str, bool],
    num_tokens: int,
    cut: int,
) -> None:
    """Odd widths, shared heads, vocabularies that are no multiple of anything; whole and cut."""
    shape = network_shape(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_layers=num_layers,
        heads=heads,
        head_dim=head_dim,
        is_tied=is_tied,
        family=family[0],
        has_bias=family[1],
    )
    model = new_network(shape, seed=hidden_size)
    ids = text(hidden_size, num_tokens, vocab_size)
    with torch.inference_mode():
        expected_TV = model(torch.tensor([ids]))[0]
    executor = cpu_executor(model, num_blocks=BLOCKS_EACH)
    cut = min(cut, num_tokens - 1)
    pieces = [(0, ids[:cut]), (cut, ids[cut:])] if cut else [(0, ids)]
    logits_TV = torch.cat(
        [
            executor.compute(
                [
                    ChunkInput(
                        token_ids=piece,
                        start=start,
                        block_ids=range(BLOCKS_EACH),
                        logits=LogitsWanted.ALL,
                    )
                ]
            ).logits_RV
            for start, piece in pieces
        ]
    )
    scale = float(expected_TV.abs().max()) + 1.0
    assert float((logits_TV - expected_TV).abs().max()) < 1e-4 * scale
    two_best_T2 = expected_TV.topk(2).values
    is_clear_T = two_best_T2[:, 0] - two_best_T2[:, 1] > MARGIN * scale
    assert torch.equal(logits_TV.argmax(1)[is_clear_T], expected_TV.argmax(1)[is_clear_T])


@settings(max_examples=25)
@given(data=st.data())
def test_a_token_has_the_same_bits_however_it_was_computed(
    model: Transformer, executor: CpuExecutor, data: st.DataObject
) -> None:
    """H48: any pieces, neighbours, places in the step, blocks, threads, and earlier contents."""
    texts = [
        text(data.draw(st.integers(0, 50)), data.draw(st.integers(1, 130)))
        for _ in range(NUM_OWNERS)
    ]
    alone = cpu_executor(model, num_blocks=BLOCKS_EACH)
    expected: list[Tensor] = []
    for ids in texts:
        whole = ChunkInput(
            token_ids=ids, start=0, block_ids=range(BLOCKS_EACH), logits=LogitsWanted.ALL
        )
        expected.append(alone.compute([whole]).logits_RV)
    computed = [0] * NUM_OWNERS
    while any(done < len(ids) for done, ids in zip(computed, texts, strict=True)):
        owners = [owner for owner in range(NUM_OWNERS) if computed[owner] < len(texts[owner])]
        owners = data.draw(st.permutations(owners))[: data.draw(st.integers(1, NUM_OWNERS))]
        chunks: list[ChunkInput] = []
        for owner in owners:
            left = len(texts[owner]) - computed[owner]
            size = min(left, data.draw(st.sampled_from([1, 1, 2, 7, 64, 100, 130])))
            ids = texts[owner][computed[owner] : computed[owner] + size]
            chunks.append(chunk(ids, computed[owner], owner))
        step = executor.compute(chunks)
        for place, owner in enumerate(owners):
            end = computed[owner] + len(chunks[place].token_ids)
            assert torch.equal(rows(step, place), expected[owner][computed[owner] : end])
            computed[owner] = end


def test_a_step_gives_the_rows_that_each_chunk_wants(
    model: Transformer, executor: CpuExecutor
) -> None:
    wishes = [LogitsWanted.LAST, LogitsWanted.NONE, LogitsWanted.ALL, LogitsWanted.LAST]
    texts = [text(1, 9), text(2, 30), text(3, 5), text(4, 1)]
    step = executor.compute(
        [
            chunk(ids, 0, owner, wish)
            for owner, (ids, wish) in enumerate(zip(texts, wishes, strict=True))
        ]
    )
    assert [len(rows(step, place)) for place in range(4)] == [1, 0, 5, 1]
    assert step.logits_RV.shape == (7, 61)
    for place, ids in enumerate(texts):
        wanted_TV = rows(step, place)
        with torch.inference_mode():
            plain_TV = model(torch.tensor([ids]))[0]
        assert torch.allclose(wanted_TV, plain_TV[len(ids) - len(wanted_TV) :], atol=1e-4)
    nothing = executor.compute([chunk([3], 9, 0, LogitsWanted.NONE)])
    assert nothing.logits_RV.shape == (0, 61)


@pytest.mark.parametrize("cache_type", [NumberType.F32, NumberType.BF16])
def test_nan_in_a_block_reaches_its_readers_and_nobody_else(
    cache_type: NumberType,
) -> None:
    """H47; a token whose own vector is NaN fills blocks with it, as an overflow would."""
    poisoned = new_network(network_shape())
    poisoned.model.embed_tokens.weight[60] = math.nan
    num_blocks = NUM_OWNERS * BLOCKS_EACH
    executor = cpu_executor(poisoned, num_blocks=num_blocks, cache_type=cache_type)
    ids = [token_id for token_id in text(5, 45) if token_id != 60][:40]
    # The column of token 60 is NaN whoever asks: the output matrix is the embedding.
    clean = executor.compute([chunk(ids, 0, 1)]).logits_RV[:, :60]
    assert bool(clean.isfinite().all())
    for owner in range(NUM_OWNERS):
        executor.compute([chunk([60] * (16 * BLOCKS_EACH - 10), 0, owner)])
    step = executor.compute([chunk([1], 30, 0), chunk(ids, 0, 1), chunk(ids, 0, 2)])
    assert bool(rows(step, 0).isnan().all())
    assert torch.equal(rows(step, 1)[:, :60], clean)
    assert torch.equal(rows(step, 2)[:, :60], clean)
    executor.clear_blocks(table(0))
    cleared = executor.compute([chunk([1], 30, 0)]).logits_RV[:, :60]
    assert bool(cleared.isfinite().all())


@pytest.mark.parametrize("layers", [None, (1,), (1, 0), ()])
def test_what_is_looked_at_is_what_the_reference_shows_and_changes_nothing(
    model: Transformer, executor: CpuExecutor, layers: tuple[int, ...] | None
) -> None:
    eager = EagerExecutor(model, num_blocks=NUM_OWNERS * BLOCKS_EACH, deterministic=False)
    ids = text(7, 90)
    looked_at = ChunkInput(
        token_ids=ids[50:],
        start=50,
        block_ids=table(2),
        is_inspected=True,
        attention_layers=layers,
        logits=LogitsWanted.ALL,
    )
    plain = chunk(ids[50:], 50, 2)
    steps: list[ComputedStep] = []
    for each in (eager, executor):
        each.compute([chunk(ids[:50], 0, 2, LogitsWanted.NONE)])
        steps.append(each.compute([chunk(text(1, 20), 0, 0), looked_at, chunk([4], 0, 1)]))
    expected, seen = (step.inspected[1] for step in steps)
    assert seen.hidden_states.shape == expected.hidden_states.shape
    assert torch.allclose(seen.hidden_states, expected.hidden_states, atol=1e-4)
    assert seen.attention.shape == expected.attention.shape
    assert torch.allclose(seen.attention, expected.attention, atol=1e-5)
    assert torch.equal(rows(steps[1], 1), executor.compute([plain]).logits_RV)
