"""The reference executor: the same bits in any batch, rows by the wish.

What it shows of its inside is in test_attention.py.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.config import ModelConfig
from model.transformer import Transformer
from service.engine.batch_invariance import is_batch_invariant
from service.engine.eager_executor import DETERMINISTIC_ROWS, EagerExecutor
from service.engine.executor import ChunkInput, ComputedStep, LogitsWanted, NotDeterministicError

CONTEXT = 200
BLOCK_TOKENS = 16
BLOCKS_EACH = 13
CONFIG = ModelConfig(
    vocab_size=61,
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=12,
    max_position_embeddings=CONTEXT,
)


def new_model() -> Transformer:
    model = Transformer(CONFIG).eval().requires_grad_(False)
    model.initialize(torch.Generator().manual_seed(3))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(5)
    return model


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


@pytest.fixture(scope="module")
def executor(model: Transformer) -> EagerExecutor:
    return EagerExecutor(model, num_blocks=4 * BLOCKS_EACH, deterministic=True)


def text(seed: int, num_tokens: int) -> list[int]:
    return [(seed * 31 + 7 * place * place + place) % 61 for place in range(num_tokens)]


def table(owner: int) -> list[int]:
    return [place * 4 + owner for place in range(BLOCKS_EACH)][::-1]


def chunk(
    ids: list[int], start: int, owner: int, logits: LogitsWanted = LogitsWanted.ALL
) -> ChunkInput:
    return ChunkInput(token_ids=ids, start=start, block_ids=table(owner), logits=logits)


def rows(step: ComputedStep, place: int) -> Tensor:
    return step.logits_RV[step.rows[place]]


@settings(max_examples=25)
@given(data=st.data())
def test_a_token_has_the_same_bits_however_it_was_computed(
    model: Transformer, executor: EagerExecutor, data: st.DataObject
) -> None:
    """H48: any pieces, neighbours, places in the step, blocks, and what was in them before."""
    texts = [text(data.draw(st.integers(0, 50)), data.draw(st.integers(1, 130))) for _ in range(4)]
    alone = EagerExecutor(model, num_blocks=BLOCKS_EACH, deterministic=True)
    expected: list[Tensor] = []
    for ids in texts:
        whole = ChunkInput(
            token_ids=ids, start=0, block_ids=range(BLOCKS_EACH), logits=LogitsWanted.ALL
        )
        expected.append(alone.compute([whole]).logits_RV)
    computed = [0] * 4
    while any(done < len(ids) for done, ids in zip(computed, texts, strict=True)):
        owners = [owner for owner in range(4) if computed[owner] < len(texts[owner])]
        owners = data.draw(st.permutations(owners))[: data.draw(st.integers(1, 4))]
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
    model: Transformer, executor: EagerExecutor
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


def test_nan_in_all_other_blocks_reaches_nobody(model: Transformer) -> None:
    """H47; and it is the control of itself: the row that reads them does show it."""
    executor = EagerExecutor(model, num_blocks=4 * BLOCKS_EACH)
    ids = text(5, 40)
    clean = executor.compute([chunk(ids, 0, 1)]).logits_RV
    cache = executor.kv_cache
    for tensor in (*cache.keys, *cache.values):
        tensor.fill_(math.nan)
    step = executor.compute([chunk([1], 30, 0), chunk(ids, 0, 1), chunk(ids, 0, 2)])
    assert bool(rows(step, 0).isnan().all())
    assert torch.equal(rows(step, 1), clean)
    assert torch.equal(rows(step, 2), clean)
    executor.clear_blocks(table(0))
    cleared = executor.compute([chunk([1], 30, 0)])
    assert bool(cleared.logits_RV.isfinite().all())


def test_bf16_is_close_to_f32_and_not_deterministic_by_default(model: Transformer) -> None:
    narrow = EagerExecutor(new_model().to(torch.bfloat16), num_blocks=BLOCKS_EACH)
    assert not narrow.is_deterministic
    wide = EagerExecutor(model, num_blocks=BLOCKS_EACH)
    assert wide.is_deterministic
    assert narrow.kv_cache_bytes * 2 == wide.kv_cache_bytes
    whole = ChunkInput(
        token_ids=text(2, 60), start=0, block_ids=range(BLOCKS_EACH), logits=LogitsWanted.ALL
    )
    logits_TV, exact_TV = narrow.compute([whole]).logits_RV, wide.compute([whole]).logits_RV
    assert logits_TV.dtype == torch.float32
    difference_TV = (logits_TV.softmax(1) - exact_TV.softmax(1)).abs().sum(1)
    assert float(difference_TV.mean()) < 0.1


def disturbed_by_neighbours(_module: nn.Module, _inputs: object, out_BTC: Tensor) -> Tensor:
    """What a library does whose kernel for many rows rounds otherwise than that for few."""
    return out_BTC * (1.0 + 2.0**-22) if out_BTC.shape[1] > 100 else out_BTC


def test_a_machine_without_invariance_is_found_out(model: Transformer) -> None:
    """The control of the trial: a difference in the last bits, in large batches only."""
    assert is_batch_invariant(model, row_multiple=DETERMINISTIC_ROWS)
    disturbed = new_model()
    disturbed.model.layers[0].register_forward_hook(disturbed_by_neighbours)
    assert not is_batch_invariant(disturbed, row_multiple=DETERMINISTIC_ROWS)
    assert not EagerExecutor(disturbed, num_blocks=1).is_deterministic
    with pytest.raises(NotDeterministicError, match="float32 on cpu"):
        EagerExecutor(disturbed, num_blocks=1, deterministic=True)
    assert not EagerExecutor(disturbed, num_blocks=1, deterministic=False).is_deterministic


def test_the_trial_needs_no_longer_context_than_the_model_has() -> None:
    config = ModelConfig(
        vocab_size=12,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        max_position_embeddings=3,
    )
    model = Transformer(config).eval().requires_grad_(False)
    model.initialize(torch.Generator().manual_seed(1))
    assert is_batch_invariant(model, row_multiple=DETERMINISTIC_ROWS)
