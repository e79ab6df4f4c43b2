"""Training settings, pruning, evaluation and announcements of the n-gram model."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.ngram import NgramModel
from model.ngram_description import NgramError
from training.ngram.counting import count_ngrams
from training.ngram.kneser_ney import Discounts
from training.ngram.packing import quantise
from training.ngram.training import TrainedNgram, evaluate_ngram, train_ngram

VOCAB_SIZE = 300
END = 0


def made_up_text(num_tokens: int, *, seed: int) -> NDArray[np.uint16]:
    """A Markov chain of order 1 and 2, the same for every seed, in documents of about 100."""
    followers = np.random.default_rng(0).integers(1, VOCAB_SIZE, size=(VOCAB_SIZE, 20))
    rng = np.random.default_rng(seed)
    choices = np.minimum(rng.geometric(0.25, size=num_tokens), 20) - 1
    jumps, anywhere = rng.random(num_tokens), rng.integers(1, VOCAB_SIZE, size=num_tokens)
    tokens = np.zeros(num_tokens, dtype=np.uint16)
    for place in range(2, num_tokens - 1):
        if jumps[place] < 0.01:
            tokens[place] = END
        elif jumps[place] < 0.2:
            tokens[place] = anywhere[place]
        else:
            row = int(tokens[place - 1]) + (7 * int(tokens[place - 2]) if jumps[place] < 0.8 else 0)
            tokens[place] = followers[row % VOCAB_SIZE, choices[place]]
    return tokens


TRAIN = made_up_text(60_000, seed=1)
HELD_OUT = made_up_text(5_000, seed=2)


def quiet(line: str) -> None:
    """Takes announcements that a test does not look at."""


def trained(
    *,
    order: int = 5,
    max_bytes: int | None = None,
    max_tokens: int = 10**8,
    discounts: Discounts = "modified",
    lines: list[str] | None = None,
) -> TrainedNgram:
    return train_ngram(
        [TRAIN],
        vocab_size=VOCAB_SIZE,
        end_of_text_id=END,
        order=order,
        max_bytes=max_bytes,
        max_tokens=max_tokens,
        discounts=discounts,
        announce=(lines if lines is not None else []).append,
    )


def bits_per_byte(model: NgramModel) -> float:
    return evaluate_ngram(model, [HELD_OUT], total_bytes=4 * HELD_OUT.size).bits_per_byte


@pytest.mark.parametrize("max_bytes", [40_000, 100_000, 400_000])
def test_the_files_fit_into_the_bytes_and_use_them(max_bytes: int, tmp_path: Path) -> None:
    lines: list[str] = []
    size = trained(max_bytes=max_bytes, lines=lines).save(tmp_path)
    assert max_bytes * 0.85 - 8_000 < size <= max_bytes
    assert "max_bytes" in lines[0]


@pytest.mark.parametrize("max_bytes", [30_000, 60_000, 200_000])
def test_probabilities_of_a_pruned_model_sum_to_one(max_bytes: int) -> None:
    model = trained(max_bytes=max_bytes).model
    rng = np.random.default_rng(5)
    contexts = [[], [END], [7, END], *rng.integers(0, VOCAB_SIZE, size=(20, 6)).tolist()]
    contexts += [HELD_OUT[start : start + 5].tolist() for start in range(0, 500, 10)]
    for context in contexts:
        probabilities = model.probabilities(context)
        assert abs(probabilities.sum() - 1) < 1e-9
        assert (probabilities > 0).all()


def test_a_larger_budget_foretells_no_worse() -> None:
    scores = [
        bits_per_byte(trained(max_bytes=size).model)
        for size in (26_000, 50_000, 100_000, 200_000, 400_000)
    ]
    for smaller, larger in pairwise(scores):
        assert larger < smaller + 0.005
    assert scores[-1] < scores[0] - 0.04


def test_a_budget_that_fits_all_prunes_nothing() -> None:
    lines: list[str] = []
    assert (
        trained(max_bytes=50_000_000, lines=lines).tables.num_nodes_by_order
        == trained().tables.num_nodes_by_order
    )
    assert not [line for line in lines if "max_bytes" in line]


def test_higher_orders_foretell_better_where_the_text_has_them() -> None:
    scores = [bits_per_byte(trained(order=order).model) for order in (1, 2, 3)]
    assert scores[1] < scores[0] - 0.03
    assert scores[2] < scores[1] - 0.03


def test_evaluation_does_not_depend_on_how_the_stream_is_cut() -> None:
    model = trained(max_bytes=100_000).model
    whole = evaluate_ngram(model, [HELD_OUT], total_bytes=20_000)
    cut = evaluate_ngram(
        model, [HELD_OUT[:1], HELD_OUT[1:3], HELD_OUT[3:3], HELD_OUT[3:]], total_bytes=20_000
    )
    assert cut.nats_per_token == pytest.approx(whole.nats_per_token, rel=1e-12)
    assert whole.bits_per_byte == pytest.approx(
        whole.nats_per_token * HELD_OUT.size / math.log(2) / 20_000
    )
    assert whole.perplexity == pytest.approx(math.exp(whole.nats_per_token))


def test_training_does_not_depend_on_how_the_stream_is_cut() -> None:
    parts = [TRAIN[:1], TRAIN[1:777].astype(np.uint32), TRAIN[777:].astype(np.int64)]
    cut = train_ngram(
        parts, vocab_size=VOCAB_SIZE, end_of_text_id=END, max_bytes=None, announce=quiet
    )
    assert (
        cut.model.log_probabilities(HELD_OUT) == trained().model.log_probabilities(HELD_OUT)
    ).all()


def test_sorting_in_ranges_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = count_ngrams([TRAIN], vocab_size=VOCAB_SIZE, end_of_text_id=END, order=5)
    monkeypatch.setattr("training.ngram.counting._SORTED_AT_ONCE", 1000)
    ranges = count_ngrams([TRAIN], vocab_size=VOCAB_SIZE, end_of_text_id=END, order=5)
    for one, other in zip(whole.levels, ranges.levels, strict=True):
        assert (one.tokens == other.tokens).all()
        assert (one.parents == other.parents).all()
        assert (one.suffixes == other.suffixes).all()
        assert (one.counts == other.counts).all()


def test_too_many_tokens_are_thinned_evenly_and_said() -> None:
    lines: list[str] = []
    assert trained(max_tokens=10_000, lines=lines).num_tokens == 10_000
    assert "10,000 of 60,000" in lines[0]


def test_a_text_without_varied_counts_takes_fallback_discounts_and_says_so() -> None:
    lines: list[str] = []
    train_ngram(
        [np.array([1, 2, 0])], vocab_size=3, end_of_text_id=END, order=2, announce=lines.append
    )
    assert len([line for line in lines if "discounts" in line]) == 2


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=2000))
@settings(deadline=None, max_examples=30)
def test_up_to_256_values_are_stored_exactly_and_more_within_their_bin(values: list[float]) -> None:
    array = np.array(values)
    levels, codes = quantise(array)
    stored = levels[codes]
    if np.unique(array).size <= 256:
        assert (stored == array).all()
    spread = math.log(max(values) / min(values)) if len(values) > 1 else 0.0
    assert (np.abs(np.log(stored / array)) <= spread / 255 + 1e-6).all()


def test_stored_bytes_stay_close_to_the_estimates() -> None:
    rng = np.random.default_rng(3)
    counts = np.floor(rng.pareto(0.7, size=100_000) + 1).clip(max=2e6)
    levels, codes = quantise(counts)
    assert np.abs(levels[codes] / counts - 1).max() < 0.06


@pytest.mark.parametrize("order", [0, 6])
def test_an_order_out_of_its_limits_is_named(order: int) -> None:
    with pytest.raises(NgramError, match=f"order must be 1 to 5, given {order}"):
        trained(order=order)


def test_a_budget_below_the_single_tokens_is_named() -> None:
    with pytest.raises(NgramError, match=r"max_bytes must be at least .* given 100"):
        trained(max_bytes=100)


def test_a_number_of_tokens_below_two_is_named() -> None:
    with pytest.raises(NgramError, match="max_tokens must be at least 2, given 1"):
        trained(max_tokens=1)


@pytest.mark.parametrize("discounts", [0.0, 1.0, float("nan")])
def test_a_discount_out_of_its_limits_is_named(discounts: float) -> None:
    with pytest.raises(NgramError, match="discounts must lie between 0 and 1"):
        trained(discounts=discounts)


@pytest.mark.parametrize("end_of_text_id", [-1, 300])
def test_an_end_of_text_token_outside_the_vocabulary_is_refused(end_of_text_id: int) -> None:
    with pytest.raises(NgramError, match="end_of_text_id"):
        train_ngram([TRAIN], vocab_size=300, end_of_text_id=end_of_text_id, announce=quiet)


@pytest.mark.parametrize("tokens", [[], [1]])
def test_too_short_a_text_is_refused(tokens: list[int]) -> None:
    with pytest.raises(NgramError, match="at least 2 tokens"):
        train_ngram(
            [np.array(tokens, dtype=np.uint16)],
            vocab_size=300,
            end_of_text_id=END,
            announce=quiet,
        )


@pytest.mark.parametrize("token", [-1, 300])
def test_a_token_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(NgramError, match="0 to 299"):
        train_ngram([np.array([1, 2, token])], vocab_size=300, end_of_text_id=END, announce=quiet)


def test_an_empty_held_out_text_is_refused() -> None:
    with pytest.raises(NgramError, match="held-out"):
        evaluate_ngram(trained(order=2).model, [], total_bytes=0)
