"""The compiled kernels against the reference: numbers, bits, what is looked at, what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.transformer import Transformer
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.library import KernelError
from service.engine.cpu.packed_network import NumberType
from service.engine.eager_executor import EagerExecutor
from service.engine.executor import ChunkInput, ComputedStep, LogitsWanted
from tests.service.packed_models import cpu_executor, packed

CONTEXT = 200
BLOCKS_EACH = 13
NUM_OWNERS = 4
# A choice is the reference's unless its own two best are closer than this.
MARGIN = 1e-4


def config(
    *,
    vocab_size: int = 61,
    hidden_size: int = 48,
    intermediate_size: int = 96,
    num_layers: int = 2,
    heads: tuple[int, int] = (4, 2),
    head_dim: int = 12,
    is_tied: bool = True,
    family: str = "llama",
    has_bias: bool = False,
) -> ModelConfig:
    return ModelConfig(
        model_type=family,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=head_dim,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=is_tied,
        attention_bias=has_bias,
    )


def new_model(shape: ModelConfig, seed: int = 3) -> Transformer:
    """A network with strong opinions, and with vectors that are not all ones or zeros."""
    model = Transformer(shape).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    model.initialize(generator)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(5)
        else:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model(config())


@pytest.fixture(scope="module")
def executor(model: Transformer) -> CpuExecutor:
    return cpu_executor(model, num_blocks=NUM_OWNERS * BLOCKS_EACH, num_threads=2)


def text(seed: int, num_tokens: int, vocab_size: int = 61) -> list[int]:
    return [(seed * 31 + 7 * place * place + place) % vocab_size for place in range(num_tokens)]


def table(owner: int) -> list[int]:
    return [place * NUM_OWNERS + owner for place in range(BLOCKS_EACH)][::-1]


def chunk(
    ids: list[int], start: int, owner: int, logits: LogitsWanted = LogitsWanted.ALL
) -> ChunkInput:
    return ChunkInput(token_ids=ids, start=start, block_ids=table(owner), logits=logits)


def rows(step: ComputedStep, place: int) -> Tensor:
    return step.logits_RV[step.rows[place]]


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
    shape = config(
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
    model = new_model(shape, seed=hidden_size)
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


@pytest.mark.parametrize("weight_type", [NumberType.BF16, NumberType.INT8])
def test_narrow_weights_give_the_same_bits_in_any_batch_too(
    model: Transformer, weight_type: NumberType
) -> None:
    executor = cpu_executor(
        model,
        num_blocks=NUM_OWNERS * BLOCKS_EACH,
        weight_type=weight_type,
        cache_type=NumberType.BF16,
    )
    texts = [text(owner, 90) for owner in range(NUM_OWNERS)]
    whole = [executor.compute([chunk(ids, 0, owner)]).logits_RV for owner, ids in enumerate(texts)]
    executor.compute([chunk(ids[:80], 0, owner) for owner, ids in enumerate(texts)])
    for place in range(80, 90):
        step = executor.compute(
            [chunk([ids[place]], place, owner) for owner, ids in enumerate(texts)]
        )
        for owner in range(NUM_OWNERS):
            assert torch.equal(rows(step, owner)[0], whole[owner][place])


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
    poisoned = new_model(config())
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


def test_the_embedding_is_read_out_of_the_packed_matrix(model: Transformer) -> None:
    for weight_type, tolerance in ((NumberType.F32, 0.0), (NumberType.INT8, 0.01)):
        network = packed(model, weight_type=weight_type)
        expected = model.embedding_rows(7, 50)
        difference = (network.embedding_rows(7, 50) - expected).abs().max()
        assert float(difference) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (ChunkInput(token_ids=[1] * 17, start=0, block_ids=[0]), "1 blocks do not hold 17 tokens"),
        (ChunkInput(token_ids=[1], start=0, block_ids=[52]), "block"),
        (ChunkInput(token_ids=[1], start=0, block_ids=[-1]), "block"),
        (ChunkInput(token_ids=[61], start=0, block_ids=[0]), "token"),
        (ChunkInput(token_ids=[-1], start=0, block_ids=[0]), "token"),
        (ChunkInput(token_ids=[1], start=CONTEXT, block_ids=range(20)), "position"),
    ],
    ids=["too few blocks", "no such block", "negative block", "token", "negative token", "context"],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    executor: CpuExecutor, wrong: ChunkInput, message: str
) -> None:
    ids = text(6, 40)
    executor.compute([chunk(ids[:30], 0, 3)])
    clean = executor.compute([chunk(ids[30:], 30, 3)]).logits_RV
    with pytest.raises(KernelError, match=message):
        executor.compute([chunk([9] * 10, 0, 3), wrong])
    assert torch.equal(executor.compute([chunk(ids[30:], 30, 3)]).logits_RV, clean)


def test_a_network_with_a_tensor_of_another_shape_or_without_one_is_refused(
    model: Transformer,
) -> None:
    network = packed(model)
    with pytest.raises(KernelError):
        network.load("model.norm.weight", torch.ones(47))
    with pytest.raises(KeyError):
        network.load("model.layers.0.mlp.gate_proj.bias", torch.ones(96))
