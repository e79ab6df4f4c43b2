"""The paged cache against the cache-free network: any pieces, rows, starts, tables and owners."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.kv_cache import CacheRow, KVCache
from model.paged_attention import CachedBatch
from model.transformer import Transformer

MAX_TOKENS = 150
BLOCK_TOKENS = 8
BLOCKS_EACH = 19
CONFIG = ModelConfig(
    vocab_size=31,
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    max_position_embeddings=MAX_TOKENS,
)


@pytest.fixture(scope="module")
def model() -> Transformer:
    network = Transformer(CONFIG)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.5 * drawn if parameter.dim() > 1 else 1.0 + 0.2 * drawn)
    return network.eval().requires_grad_(False)


def new_cache(num_blocks: int = 4 * BLOCKS_EACH) -> KVCache:
    return KVCache(CONFIG, num_blocks=num_blocks, block_tokens=BLOCK_TOKENS)


def table(owner: int) -> list[int]:
    """Blocks of an owner, in an order of their own, far apart."""
    return [(place * 4 + owner) % (4 * BLOCKS_EACH) for place in range(BLOCKS_EACH)][::-1]


def assert_close(ours_TV: Tensor, reference_TV: Tensor) -> None:
    assert ours_TV.shape == reference_TV.shape
    assert float((ours_TV - reference_TV).abs().max() / reference_TV.std()) <= 1e-5


@torch.inference_mode()
def step(
    model: Transformer,
    cache: KVCache,
    texts: Sequence[Sequence[int]],
    tables: Sequence[Sequence[int]],
    starts: Sequence[int],
    *,
    row_multiple: int = 1,
) -> list[Tensor]:
    """Logits of each row's new tokens."""
    ids = [token for text in texts for token in text]
    ids += [0] * (-len(ids) % row_multiple)
    rows = [
        CacheRow(block_ids=blocks, start=start, num_new=len(text))
        for text, blocks, start in zip(texts, tables, starts, strict=True)
    ]
    batch = CachedBatch(cache, rows, num_padded=len(ids), query_multiple=row_multiple)
    logits_NV = model(torch.tensor([ids]), cached=batch)[0]
    return list(logits_NV[: batch.num_new].split([len(text) for text in texts]))


@torch.inference_mode()
def reference(model: Transformer, ids: Sequence[int]) -> Tensor:
    return model(torch.tensor([ids]))[0]


token_ids = st.lists(st.integers(0, CONFIG.vocab_size - 1), min_size=1, max_size=MAX_TOKENS)


@given(ids=token_ids, data=st.data())
def test_any_split_into_pieces_gives_the_logits_of_the_whole(
    model: Transformer, ids: list[int], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(ids))), label="cuts") | {len(ids)})
    cache = new_cache()
    blocks = data.draw(st.permutations(range(cache.num_blocks)), label="blocks")[:BLOCKS_EACH]
    parts: list[Tensor] = []
    start = 0
    for cut in cuts:
        parts += step(model, cache, [ids[start:cut]], [blocks], [start])
        start = cut
    assert_close(torch.cat(parts), reference(model, ids))


@given(data=st.data())
def test_rows_of_different_pieces_do_not_disturb_one_another(
    model: Transformer, data: st.DataObject
) -> None:
    """Rows join, advance by pieces of any length, and leave their blocks to others."""
    cache = new_cache()
    texts: dict[int, list[int]] = {}
    computed: dict[int, int] = {}
    row_multiple = data.draw(st.sampled_from([1, 4]), label="row multiple")
    for _ in range(data.draw(st.integers(1, 5), label="steps")):
        for owner in range(4):
            if owner not in texts or computed[owner] == len(texts[owner]):
                texts[owner] = data.draw(token_ids, label=f"text of {owner}")
                computed[owner] = 0
        owners = data.draw(st.permutations(range(4)), label="order")
        owners = owners[: data.draw(st.integers(1, 4), label="rows")]
        ends = {
            owner: data.draw(st.integers(computed[owner] + 1, len(texts[owner])), label="end")
            for owner in owners
        }
        logits = step(
            model,
            cache,
            [texts[owner][computed[owner] : ends[owner]] for owner in owners],
            [table(owner) for owner in owners],
            [computed[owner] for owner in owners],
            row_multiple=row_multiple,
        )
        for owner, logits_TV in zip(owners, logits, strict=True):
            expected_TV = reference(model, texts[owner][: ends[owner]])
            assert_close(logits_TV, expected_TV[computed[owner] :])
            computed[owner] = ends[owner]


@given(ids=token_ids, other=token_ids, data=st.data())
def test_two_sequences_can_read_the_blocks_of_a_common_start(
    model: Transformer, ids: list[int], other: list[int], data: st.DataObject
) -> None:
    num_shared = data.draw(st.integers(0, (len(ids) - 1) // BLOCK_TOKENS), label="shared blocks")
    start = num_shared * BLOCK_TOKENS
    other = other[: MAX_TOKENS - start]
    cache = new_cache()
    step(model, cache, [ids], [table(0)], [0])
    shared = [*table(0)[:num_shared], *table(1)[num_shared:]]
    (logits_TV,) = step(model, cache, [other], [shared], [start])
    assert_close(logits_TV, reference(model, [*ids[:start], *other])[start:])


def poisoned_cache(model: Transformer) -> KVCache:
    """Half of owner 0's first block and all of its others hold NaN; owner 1 is healthy."""
    cache = new_cache()
    step(model, cache, [[2] * 12, [3] * 12], [table(0), table(1)], [0, 0])
    first, *others = table(0)
    for tensor in (*cache.keys, *cache.values):
        tensor[:, first * BLOCK_TOKENS + 4 : (first + 1) * BLOCK_TOKENS] = float("nan")
        for block in others:
            tensor[:, block * BLOCK_TOKENS : (block + 1) * BLOCK_TOKENS] = float("nan")
    return cache


@pytest.mark.parametrize("row_multiple", [1, 4])
def test_nan_of_an_earlier_owner_does_not_reach_the_next(
    model: Transformer, row_multiple: int
) -> None:
    """H47."""
    cache = poisoned_cache(model)
    tables = [table(0), table(1)]
    (first,) = step(model, cache, [[6, 7]], tables[:1], [0], row_multiple=row_multiple)
    assert_close(first, reference(model, [6, 7]))
    # The longer neighbour makes the batch as long as what is poisoned.
    both = step(model, cache, [[8], [3]], tables, [2, 12], row_multiple=row_multiple)
    assert_close(both[0], reference(model, [6, 7, 8])[-1:])
    assert_close(both[1], reference(model, [3] * 13)[-1:])


def test_nan_that_a_row_does_read_shows(model: Transformer) -> None:
    """The positive control of the test above: one token that the row has not written is enough."""
    cache = poisoned_cache(model)
    both = step(model, cache, [[8], [3]], [table(0), table(1)], [5, 12])
    assert bool(both[0].isnan().all())
    # Not even then does it reach another row.
    assert_close(both[1], reference(model, [3] * 13)[-1:])


def test_cleared_blocks_hold_zeros_and_others_what_they_held(model: Transformer) -> None:
    cache = poisoned_cache(model)
    healthy = [tensor[:, table(1)[0] * BLOCK_TOKENS].clone() for tensor in cache.keys]
    cache.clear(table(0))
    assert all(bool(t.isfinite().all()) for t in (*cache.keys, *cache.values))
    after = [tensor[:, table(1)[0] * BLOCK_TOKENS] for tensor in cache.keys]
    assert all(torch.equal(a, b) for a, b in zip(healthy, after, strict=True))
    assert all(bool(a.any()) for a in after)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (CacheRow(block_ids=[0], start=BLOCK_TOKENS, num_new=1), "1 blocks hold 8 tokens, got 9"),
        (CacheRow(block_ids=[0, 99], start=0, num_new=1), r"lie in 0\.\.75, got 99"),
        (CacheRow(block_ids=[-1], start=0, num_new=1), r"got -1"),
        (CacheRow(block_ids=[0], start=0, num_new=0), "needs new tokens"),
    ],
    ids=["table too short", "block beyond the pool", "negative block", "nothing to do"],
)
def test_a_row_that_does_not_fit_its_table_is_refused(row: CacheRow, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CachedBatch(new_cache(), [row])


def test_positions_end_with_the_model_even_where_the_blocks_go_on(model: Transformer) -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_TOKENS} tokens"):
        step(model, new_cache(), [[1]], [table(0)], [MAX_TOKENS])


def test_blocks_that_do_not_fit_the_tiles_of_attention_are_refused() -> None:
    cache = KVCache(CONFIG, num_blocks=2, block_tokens=24)
    with pytest.raises(ValueError, match="block_tokens must divide 64, got 24"):
        CachedBatch(cache, [CacheRow(block_ids=[0], start=0, num_new=1)])
