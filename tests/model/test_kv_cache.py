"""The cache against the cache-free network: any chunks, rows, starts and owners of slots."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.kv_cache import KVCache
from model.transformer import Transformer

MAX_TOKENS = 24
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


def new_cache(num_slots: int = 4) -> KVCache:
    return KVCache(CONFIG, num_slots=num_slots, max_tokens=MAX_TOKENS)


def assert_close(ours_TV: Tensor, reference_TV: Tensor) -> None:
    assert ours_TV.shape == reference_TV.shape
    assert float((ours_TV - reference_TV).abs().max() / reference_TV.std()) <= 1e-5


@torch.inference_mode()
def step(
    model: Transformer, cache: KVCache, ids: list[list[int]], slots: list[int], starts: list[int]
) -> Tensor:
    return model(
        torch.tensor(ids),
        kv_cache=cache,
        slots_B=torch.tensor(slots),
        start_positions_B=torch.tensor(starts),
    )


@torch.inference_mode()
def reference(model: Transformer, ids: list[int]) -> Tensor:
    return model(torch.tensor([ids]))[0]


token_ids = st.lists(st.integers(0, CONFIG.vocab_size - 1), min_size=1, max_size=MAX_TOKENS)


@given(ids=token_ids, data=st.data())
def test_any_split_into_chunks_gives_the_logits_of_the_whole(
    model: Transformer, ids: list[int], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(ids))), label="cuts") | {len(ids)})
    cache = new_cache()
    slot = data.draw(st.integers(0, 3), label="slot")
    parts: list[Tensor] = []
    start = 0
    for cut in cuts:
        parts.append(step(model, cache, [ids[start:cut]], [slot], [start])[0])
        start = cut
    assert_close(torch.cat(parts), reference(model, ids))


@given(data=st.data())
def test_rows_of_different_lengths_do_not_disturb_one_another(
    model: Transformer, data: st.DataObject
) -> None:
    """Rows join, advance by common steps from their own starts, and leave slots to others."""
    cache = new_cache()
    texts: dict[int, list[int]] = {}
    computed: dict[int, int] = {}
    for _ in range(data.draw(st.integers(1, 6), label="steps")):
        for slot in range(cache.num_slots):
            if slot not in texts or computed[slot] == len(texts[slot]):
                texts[slot] = data.draw(token_ids, label=f"text of slot {slot}")
                computed[slot] = 0
        slots = data.draw(st.permutations(range(cache.num_slots)), label="order")
        slots = slots[: data.draw(st.integers(1, cache.num_slots), label="rows")]
        left = min(len(texts[slot]) - computed[slot] for slot in slots)
        num_new = data.draw(st.integers(1, left), label="tokens")
        starts = [computed[slot] for slot in slots]
        rows = [texts[s][a : a + num_new] for s, a in zip(slots, starts, strict=True)]
        logits_BTV = step(model, cache, rows, slots, starts)
        for row, slot in enumerate(slots):
            computed[slot] += num_new
            expected = reference(model, texts[slot][: computed[slot]])[-num_new:]
            assert_close(logits_BTV[row], expected)


def poisoned_cache(model: Transformer) -> KVCache:
    """Slot 0 holds the NaN of a failed sequence, slot 1 a healthy long one."""
    cache = new_cache()
    step(model, cache, [[2] * 12, [3] * 12], [0, 1], [0, 0])
    for tensor in (*cache.keys, *cache.values):
        tensor[0, :, 4:] = float("nan")
    return cache


def test_nan_of_an_earlier_owner_does_not_reach_the_next(model: Transformer) -> None:
    cache = poisoned_cache(model)
    first = step(model, cache, [[6, 7]], [0], [0])
    assert_close(first[0], reference(model, [6, 7]))
    # The longer neighbour makes the batch as long as what is poisoned.
    both = step(model, cache, [[8, 9], [3, 3]], [0, 1], [2, 12])
    assert_close(both[0], reference(model, [6, 7, 8, 9])[-2:])
    assert_close(both[1], reference(model, [3] * 14)[-2:])


def test_nan_that_a_row_does_read_shows(model: Transformer) -> None:
    """The positive control of the test above: one token that the row has not written is enough."""
    cache = poisoned_cache(model)
    both = step(model, cache, [[8], [3]], [0, 1], [5, 12])
    assert bool(both[0].isnan().all())
    # Not even then does it reach another row.
    assert_close(both[1], reference(model, [3] * 13)[-1:])


def test_a_row_that_outgrows_its_slot_is_refused(model: Transformer) -> None:
    cache = KVCache(CONFIG, num_slots=2, max_tokens=6)
    step(model, cache, [[1] * 6], [0], [0])
    with pytest.raises(ValueError, match="a slot holds at most 6 tokens, got 7"):
        step(model, cache, [[1]], [0], [6])


def test_positions_end_with_the_model_even_where_the_slot_is_longer(model: Transformer) -> None:
    cache = KVCache(CONFIG, num_slots=1, max_tokens=2 * MAX_TOKENS)
    with pytest.raises(ValueError, match=f"at most {MAX_TOKENS} tokens"):
        step(model, cache, [[1]], [0], [MAX_TOKENS])
