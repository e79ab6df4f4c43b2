"""Kneser-Ney estimates against a dictionary implementation written from the formulas."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.ngram import NgramModel
from training.ngram.counting import NgramCounts, count_ngrams
from training.ngram.kneser_ney import FALLBACK_DISCOUNTS, estimate, modified_discounts
from training.ngram.packing import pack
from training.ngram.training import train_ngram

END = 0
Gram = tuple[int, ...]


def windows(stream: Sequence[int], order: int) -> Counter[Gram]:
    """N-grams of one order; END may stand first or last in one, not between."""
    padded = [END, *stream]
    found: Counter[Gram] = Counter()
    for last in range(1, len(padded)):
        gram = tuple(padded[max(0, last - order + 1) : last + 1])
        if len(gram) == order and END not in gram[1:-1]:
            found[gram] += 1
    return found


class DictionaryKneserNey:
    """The textbook recursion over dictionaries; `kept` holds the n-grams of order 2 and more."""

    def __init__(
        self,
        stream: Sequence[int],
        *,
        vocab_size: int,
        order: int,
        discount: float | None,
        kept: frozenset[Gram] | None = None,
    ) -> None:
        self.vocab_size, self.order = vocab_size, order
        self.counts: dict[int, dict[Gram, int]] = {order: dict(windows(stream, order))}
        self.kept = kept
        for lower in range(order - 1, 0, -1):
            occurrences = windows(stream, lower)
            adjusted: dict[Gram, int] = defaultdict(int)
            for gram, count in self.counts[lower + 1].items():
                adjusted[gram[1:]] += 1 if self.is_kept(gram) else count
            starts = {g: count for g, count in occurrences.items() if lower > 1 and g[0] == END}
            adjusted.update(starts)
            self.counts[lower] = dict(adjusted)
        self.discounts: dict[int, tuple[float, ...]] = {}
        for level, counts in self.counts.items():
            if discount is not None:
                self.discounts[level] = (discount, discount, discount)
                continue
            number = Counter(counts.values())
            n1, n2, n3, n4 = (number[count] for count in (1, 2, 3, 4))
            self.discounts[level] = FALLBACK_DISCOUNTS
            if n1 and n2 and n3 and n4:
                y = n1 / (n1 + 2 * n2)
                three = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
                if 0 < three[0] < 1 and 0 < three[1] < 2 and 0 < three[2] < 3:
                    self.discounts[level] = three

    def is_kept(self, gram: Gram) -> bool:
        return self.kept is None or gram in self.kept

    def probability(self, context: Gram, token: int) -> float:
        order = len(context) + 1
        followers = {g: c for g, c in self.counts[order].items() if g[:-1] == context}
        below = self.probability(context[1:], token) if context else 1 / self.vocab_size
        if not any(order == 1 or self.is_kept(gram) for gram in followers):
            return below
        total = sum(followers.values())
        freed, share = 0.0, 0.0
        for gram, count in followers.items():
            discount = self.discounts[order][min(count, 3) - 1]
            if order == 1 or self.is_kept(gram):
                freed += discount
                share += (count - discount) / total if gram[-1] == token else 0.0
            else:
                freed += count
        return share + freed / total * below

    def after(self, history: Sequence[int]) -> list[float]:
        """Probabilities after the beginning of a document."""
        context = [END, *history]
        last_end = max(place for place, token in enumerate(context) if token == END)
        context = context[last_end:][-(self.order - 1) :] if self.order > 1 else []
        return [self.probability(tuple(context), token) for token in range(self.vocab_size)]


def keep_all(counts: NgramCounts) -> list[np.ndarray]:
    return [np.ones(level.tokens.size, dtype=np.bool_) for level in counts.levels]


def grams_by_order(counts: NgramCounts) -> list[list[Gram]]:
    found: list[list[Gram]] = [[(token,) for token in range(counts.vocab_size)]]
    for level in counts.levels:
        below = found[-1]
        found.append(
            [
                (*below[parent], token)
                for parent, token in zip(level.parents.tolist(), level.tokens.tolist(), strict=True)
            ]
        )
    return found


STREAMS = st.lists(st.integers(0, 4), min_size=2, max_size=60)


@given(stream=STREAMS, order=st.integers(1, 5), fixed=st.sampled_from([None, 0.1, 0.75]))
@settings(deadline=None, max_examples=60)
def test_every_probability_equals_the_dictionary_implementation(
    stream: list[int], order: int, fixed: float | None
) -> None:
    oracle = DictionaryKneserNey(stream, vocab_size=5, order=order, discount=fixed)
    model = train_ngram(
        [np.array(stream)],
        vocab_size=5,
        end_of_text_id=END,
        order=order,
        max_bytes=None,
        discounts="modified" if fixed is None else fixed,
        announce=lambda line: None,
    ).model
    logs = model.log_probabilities(stream)
    for place in range(0, len(stream), 3):
        expected = oracle.after(stream[:place])
        assert model.probabilities(stream[:place]) == pytest.approx(expected, rel=1e-9)
        assert np.exp(logs[place]) == pytest.approx(expected[stream[place]], rel=1e-9)
    unseen = [4, 3, 2, 1, 4]
    assert model.probabilities(unseen) == pytest.approx(oracle.after(unseen), rel=1e-9)


@given(
    stream=STREAMS,
    order=st.integers(2, 5),
    fixed=st.sampled_from([None, 0.6]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_any_closed_subset_of_the_ngrams_equals_the_dictionary_implementation(
    stream: list[int], order: int, fixed: float | None, seed: int
) -> None:
    counts = count_ngrams([np.array(stream)], vocab_size=5, end_of_text_id=END, order=order)
    rng = np.random.default_rng(seed)
    kept = keep_all(counts)
    parents_kept = np.ones(5, dtype=np.bool_)
    for level, mask in zip(counts.levels, kept, strict=True):
        mask &= parents_kept[level.parents] & (rng.random(mask.size) < 0.6)
        parents_kept = mask
    kept_grams = frozenset(
        gram
        for grams, mask in zip(grams_by_order(counts)[1:], kept, strict=True)
        for gram, is_kept in zip(grams, mask, strict=True)
        if is_kept
    )
    oracle = DictionaryKneserNey(stream, vocab_size=5, order=order, discount=fixed, kept=kept_grams)
    estimated = estimate(counts, kept, discounts="modified" if fixed is None else fixed)
    model = NgramModel(pack(counts, kept, estimated, end_of_text_id=END, facts={}))
    for place in range(0, len(stream), 4):
        expected = oracle.after(stream[:place])
        assert model.probabilities(stream[:place]) == pytest.approx(expected, rel=1e-9)


@given(stream=STREAMS, order=st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_counts_equal_a_dictionary_with_and_without_single_ngrams(
    stream: list[int], order: int
) -> None:
    full = count_ngrams([np.array(stream)], vocab_size=5, end_of_text_id=END, order=order)
    short = count_ngrams(
        [np.array(stream)],
        vocab_size=5,
        end_of_text_id=END,
        order=order,
        first_order_without_singles=3,
    )
    for number, level, grams, short_level, short_grams in zip(
        range(2, order + 1),
        full.levels,
        grams_by_order(full)[1:],
        short.levels,
        grams_by_order(short)[1:],
        strict=True,
    ):
        expected = windows(stream, number)
        assert dict(zip(grams, level.counts.tolist(), strict=True)) == expected
        least = 1 if number == 2 else 2
        repeated = {gram: count for gram, count in expected.items() if count >= least}
        assert dict(zip(short_grams, short_level.counts.tolist(), strict=True)) == repeated
        assert short_level.num_dropped == len(expected) - len(repeated)


@given(stream=STREAMS, order=st.integers(3, 5))
@settings(deadline=None, max_examples=60)
def test_leaving_out_single_ngrams_early_changes_no_estimate(stream: list[int], order: int) -> None:
    full = count_ngrams([np.array(stream)], vocab_size=5, end_of_text_id=END, order=order)
    short = count_ngrams(
        [np.array(stream)],
        vocab_size=5,
        end_of_text_id=END,
        order=order,
        first_order_without_singles=3,
    )
    kept = [
        np.asarray(level.counts > (1 if number > 2 else 0))
        for number, level in enumerate(full.levels, start=2)
    ]
    late = estimate(full, kept)
    early = estimate(short, keep_all(short))
    for early_discounts, late_discounts in zip(early.discounts, late.discounts, strict=True):
        assert early_discounts == pytest.approx(late_discounts)
    assert early.unigrams == pytest.approx(late.unigrams)
    late_model = NgramModel(pack(full, kept, late, end_of_text_id=END, facts={}))
    early_model = NgramModel(pack(short, keep_all(short), early, end_of_text_id=END, facts={}))
    assert early_model.log_probabilities(stream) == pytest.approx(
        late_model.log_probabilities(stream)
    )


def test_discounts_follow_the_equations_of_chen_and_goodman() -> None:
    counts = np.array([1] * 10 + [2] * 4 + [3] * 2 + [4] * 1, dtype=np.float64)
    y = 10 / 18
    assert modified_discounts(counts) == pytest.approx(
        (1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2)
    )


def test_missing_counts_of_counts_give_no_discounts() -> None:
    assert modified_discounts(np.array([1.0, 1.0, 2.0, 3.0])) is None


def test_a_saved_model_reads_back_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    stream = rng.integers(0, 9, size=4000).astype(np.uint16)
    trained = train_ngram(
        [stream[:1000], stream[1000:]], vocab_size=9, end_of_text_id=END, announce=lambda line: None
    )
    size = trained.save(tmp_path)
    assert size == sum(path.stat().st_size for path in (tmp_path / "ngram").iterdir())
    loaded = NgramModel.load(tmp_path)
    assert isinstance(loaded.tables.tokens.base, np.memmap)
    assert (loaded.log_probabilities(stream) == trained.model.log_probabilities(stream)).all()
