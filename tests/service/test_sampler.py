"""A batch of tokens: rows apart from one another, ties, identities, bad rows, frequencies."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from campaigns.broken_builds.sampler_in_torch import draw_nothing_natively
from campaigns.cases.chi_square import chi_square_tail
from campaigns.sampler import biased_random_words, make_cases, run_cases
from service.engine import sampler
from service.engine.messages import EngineFinish, Submit
from service.engine.request import Sequence
from service.engine.sampler import Choice, FailedChoice, sample
from service.engine.weight_stages import Candidates, choose, kept_by_top_k

VOCABULARY = 40
MINUS_INFINITY = float("-inf")


def sequence(*output_ids: int, **parameters: object) -> Sequence:
    values: dict[str, object] = {"request_id": 1, "prompt_ids": [0], "max_tokens": 99, **parameters}
    subject = Sequence(Submit(**values))  # pyright: ignore[reportArgumentType]
    subject.token_ids += output_ids
    return subject


def choices(count: int, *output_ids: int, **parameters: object) -> list[Sequence]:
    """Continuations of one request."""
    request = sequence(**parameters).request
    subjects = [Sequence(request, choice=choice) for choice in range(count)]
    for subject in subjects:
        subject.token_ids += output_ids
    return subjects


def chosen(logits: Tensor | list[float], subject: Sequence) -> int:
    (result,) = sample(torch.as_tensor(logits)[None], [subject])
    assert isinstance(result, Choice), result
    return result.token_id


# Few different values, so that ties are the rule; and values of all sizes.
row_of_logits = st.one_of(
    st.lists(
        st.sampled_from([MINUS_INFINITY, -2.5, -0.0, 0.0, 1.0, 1.5]),
        min_size=VOCABULARY,
        max_size=VOCABULARY,
    ).filter(lambda row: max(row) > MINUS_INFINITY),
    st.lists(st.floats(-30, 30, width=32), min_size=VOCABULARY, max_size=VOCABULARY),
)
token = st.integers(0, VOCABULARY - 1)
parameters = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**64 - 1)},
    optional={
        "temperature": st.sampled_from([0.0, 9e-6, 2e-5, 0.5, 1.0, 3.0]),
        "top_k": st.sampled_from([1, 2, 3, 10, VOCABULARY, VOCABULARY + 5]),
        "top_p": st.floats(0.01, 1.0),
        "min_p": st.floats(0.0, 1.0),
        "repetition_penalty": st.floats(0.1, 5.0),
        "presence_penalty": st.floats(-3.0, 3.0),
        "frequency_penalty": st.floats(-3.0, 3.0),
        "logit_bias": st.dictionaries(token, st.floats(-9.0, 9.0), max_size=3).map(
            lambda bias: tuple(bias.items())
        ),
        "stop_token_ids": st.tuples(token),
        "min_tokens": st.sampled_from([0, 5]),
        "logprobs": st.sampled_from([0, 1, 5]),
    },
)
Row = tuple[list[float], Mapping[str, object], list[int]]
rows: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(row_of_logits, parameters, st.lists(token, max_size=4)), min_size=1, max_size=7
)


@given(batch=rows, all_report=st.booleans())
def test_each_row_of_a_mixed_batch_gives_what_it_gives_alone(
    batch: list[Row], all_report: bool
) -> None:
    """H48, H49: bit by bit, the reported logarithms too."""
    logits_RV = torch.tensor([logits for logits, _, _ in batch])
    before_RV = logits_RV.clone()
    always = {"logprobs": 2} if all_report else {}
    sequences = [sequence(*output, **{**values, **always}) for _, values, output in batch]
    together = sample(logits_RV, sequences)
    assert torch.equal(logits_RV, before_RV), "the caller's logits are not written to"
    for row, subject in enumerate(sequences):
        alone = sample(logits_RV[row : row + 1], [subject])
        match (together[row], alone[0]):
            case (FailedChoice() as one, FailedChoice() as other):
                # All candidates banned: the only way for these rows to fail.
                assert one.finish is other.finish is EngineFinish.NUMERICAL_ERROR
            case (one, other):
                assert one == other


@given(
    batch=rows,
    bad=st.dictionaries(
        st.integers(0, 8), st.sampled_from([math.nan, math.inf, MINUS_INFINITY]), min_size=1
    ),
    whole=st.booleans(),
)
def test_an_unusable_row_ends_alone(batch: list[Row], bad: dict[int, float], whole: bool) -> None:
    """H45, H46: NaN, partly or all; plus infinity; nothing above minus infinity."""
    logits_RV = torch.tensor([logits for logits, _, _ in batch])
    sequences = [sequence(*output, **values) for _, values, output in batch]
    expected = sample(logits_RV, sequences)
    for row, value in bad.items():
        if row < len(batch):
            is_whole = whole or value == MINUS_INFINITY
            logits_RV[row, slice(None) if is_whole else 7] = value
    for row, result in enumerate(sample(logits_RV, sequences)):
        if row in bad:
            assert isinstance(result, FailedChoice)
            assert result.finish is EngineFinish.NUMERICAL_ERROR
        elif isinstance(result, Choice):
            assert result == expected[row]


@pytest.mark.parametrize(
    "fault",
    [{"logit_bias": ((VOCABULARY, 1.0),)}, {"seed": -1}, {"logprobs": -1}],
    ids=["an id beyond the vocabulary", "an impossible seed", "an impossible count"],
)
def test_a_request_that_cannot_be_sampled_ends_alone(fault: dict[str, object]) -> None:
    """H45: what the front should have refused."""
    logits_RV = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(1))
    good = [sequence(seed=3), sequence(seed=4)]
    expected = sample(logits_RV[::2], good)
    results = sample(logits_RV, [good[0], sequence(**fault), good[1]])
    assert [results[0], results[2]] == expected
    assert isinstance(results[1], FailedChoice)
    assert results[1].finish is EngineFinish.INTERNAL_ERROR


@given(logits=row_of_logits, values=parameters, output=st.lists(token, max_size=4))
def test_parameters_that_change_nothing_change_nothing(
    logits: list[float], values: Mapping[str, object], output: list[int]
) -> None:
    """Interfaces 69: whatever the other parameters are."""
    (plain,) = sample(torch.tensor([logits]), [sequence(*output, **values)])
    identities: tuple[dict[str, object], ...] = (
        {"top_k": 0},
        {"top_k": VOCABULARY},
        {"top_p": 1.0},
        {"min_p": 0.0},
        {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
        {"logit_bias": ((3, 0.0),)},
        {"min_tokens": 0, "stop_token_ids": (1, 2)},
    )
    for identity in identities:
        if not identity.keys() & values.keys():
            same = sequence(*output, **values, **identity)
            (result,) = sample(torch.tensor([logits]), [same])
            if isinstance(plain, Choice):
                assert result == plain, identity


@given(logits=row_of_logits, seed=st.integers(0, 2**64 - 1))
def test_greedy_takes_the_lowest_of_the_likeliest_however_it_is_asked_for(
    logits: list[float], seed: int
) -> None:
    """H54, interfaces 69: top_k of one, and temperatures so low that nothing else has a weight."""
    largest = max(logits)
    best = logits.index(largest)
    second = max((logit for logit in logits if logit < largest), default=MINUS_INFINITY)
    assert chosen(logits, sequence(temperature=0.0, seed=seed)) == best
    assert chosen(logits, sequence(temperature=9e-6, seed=seed)) == best
    assert chosen(logits, sequence(top_k=1, temperature=5.0, seed=seed)) == best
    assert chosen(logits, sequence(top_p=1e-9, seed=seed)) == best
    if logits.count(largest) == 1 and largest - second > 0.01:
        assert chosen(logits, sequence(temperature=1e-4, seed=seed)) == best


@given(logits=row_of_logits, top_k=st.integers(2, VOCABULARY - 1))
def test_top_k_keeps_exactly_k_tokens_and_the_lower_ones_of_a_tie(
    logits: list[float], top_k: int
) -> None:
    """The rule of `model.generate`."""
    ranked = sorted(range(VOCABULARY), key=lambda each: (-logits[each], each))
    kept_1V = kept_by_top_k(torch.tensor([logits]), top_k)
    assert kept_1V[0].nonzero()[:, 0].tolist() == sorted(ranked[:top_k])


def test_ties_of_thousands_fall_to_the_lowest_ids() -> None:
    logits_RV = torch.zeros(60, 50_000)
    logits_RV[:, 30_000:] = 1.0
    greedy = sample(logits_RV, [sequence(temperature=0.0)] * 60)
    assert {each.token_id for each in greedy if isinstance(each, Choice)} == {30_000}
    cut = sample(logits_RV, choices(60, top_k=3))
    assert {each.token_id for each in cut if isinstance(each, Choice)} == {30_000, 30_001, 30_002}


@given(
    weights=st.lists(st.sampled_from([0, 1, 5, 2**30]), min_size=1, max_size=60).filter(any),
    words=st.lists(st.sampled_from([0, 1, 2**31, 2**32 - 2, 2**32 - 1]), min_size=1, max_size=5),
)
def test_no_random_number_draws_a_token_without_weight(
    weights: list[int], words: list[int]
) -> None:
    """The smallest and the largest number among them."""
    kept = Candidates(torch.tensor([weights] * len(words)), None)
    for word, token_id in zip(words, choose(kept, words), strict=True):
        assert weights[token_id] > 0
        below = sum(weights[:token_id])
        # Whole numbers: sum below <= total * word / 2^32 < sum including the token.
        assert below <= (sum(weights) * word) >> 32 < below + weights[token_id]


def test_logits_of_any_size_can_be_cooled_without_overflow() -> None:
    assert chosen([3e38, 2e38, -3e38], sequence(temperature=1.1e-5)) == 0
    assert chosen([-3e38, -3e38, 3e38], sequence(temperature=100.0)) == 2


def test_penalties_bias_and_bans_change_the_logits_as_documented() -> None:
    def greedy(*output_ids: int, **values: object) -> int:
        return chosen([4.0, 3.0, -1.0, 2.0], sequence(*output_ids, temperature=0.0, **values))

    assert greedy() == 0
    # The prompt's token counts for repetition only.
    assert greedy(repetition_penalty=1.5) == 1
    assert greedy(presence_penalty=50.0) == 0
    assert greedy(0, presence_penalty=1.5) == 1
    # Presence takes once, frequency each time.
    assert greedy(0, 0, 0, presence_penalty=0.9) == 0
    assert greedy(0, 0, 0, frequency_penalty=0.9) == 1
    assert greedy(logit_bias=((2, 5.5),)) == 2
    assert greedy(logit_bias=((0, -100.0), (1, -100.0))) == 3
    assert greedy(min_tokens=1, end_token_ids=(0,), stop_token_ids=(1,)) == 3
    assert greedy(2, min_tokens=1, end_token_ids=(0,), stop_token_ids=(1,)) == 0
    (nothing,) = sample(
        torch.zeros(1, 2), [sequence(min_tokens=1, end_token_ids=(0,), stop_token_ids=(1,))]
    )
    assert isinstance(nothing, FailedChoice)
    assert nothing.finish is EngineFinish.NUMERICAL_ERROR


def test_seed_choice_and_position_each_have_numbers_of_their_own() -> None:
    """H53."""
    logits_RV = torch.zeros(30, 1000)
    first = sample(logits_RV, choices(30, seed=5))
    assert first == sample(logits_RV, choices(30, seed=5))
    assert first != sample(logits_RV, choices(30, seed=6))
    assert first != sample(logits_RV, choices(30, 1, seed=5))
    assert len({each.token_id for each in first if isinstance(each, Choice)}) > 20


def test_drawn_tokens_have_their_exact_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interfaces 70, campaign 6 in small, and its control."""
    cases = make_cases(60, seed=1)
    assert run_cases(cases, draws_per_case=250).passed
    monkeypatch.setattr(sampler, "draw_natively", draw_nothing_natively)
    monkeypatch.setattr(sampler, "random_words", biased_random_words)
    assert not run_cases(make_cases(15, seed=1), draws_per_case=1500).passed


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 40])
def test_the_tail_of_chi_square_is_that_of_sums_of_squares(freedom: int) -> None:
    drawn = (np.random.default_rng(0).normal(size=(200_000, freedom)) ** 2).sum(1)
    for statistic in np.quantile(drawn, [0.05, 0.5, 0.95]):
        share = float((drawn > statistic).mean())
        assert chi_square_tail(float(statistic), freedom) == pytest.approx(share, abs=0.005)
