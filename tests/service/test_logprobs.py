"""Logarithms, ranks and rivals by the raw logits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.engine.logprobs import LOWEST_LOGPROB, NumericalError, token_logprobs
from service.engine.messages import Submit
from service.engine.request import Sequence
from service.engine.sampler import Choice, sample

logits_with_ties = st.lists(
    st.one_of(st.sampled_from([-math.inf, -1.0, 0.0, 2.0]), st.floats(-50, 50, width=32)),
    min_size=1,
    max_size=25,
).filter(lambda row: max(row) > -math.inf)


@given(logits=logits_with_ties, num_top=st.integers(0, 30), data=st.data())
def test_logprobs_follow_their_definition(
    logits: list[float], num_top: int, data: st.DataObject
) -> None:
    token = data.draw(st.integers(0, len(logits) - 1))
    (ours,) = token_logprobs(torch.tensor([logits]), [token], num_top=num_top)
    x_V = np.array(logits, dtype=np.float64)
    exact_V = x_V - x_V.max() - np.log(np.exp(x_V - x_V.max()).sum())
    floored = [max(each, LOWEST_LOGPROB) for each in exact_V.tolist()]
    ranked = sorted(range(len(logits)), key=lambda each: (-logits[each], each))
    assert ours.logprob == pytest.approx(floored[token], abs=1e-9)
    assert ours.rank == ranked.index(token) + 1
    assert [each for each, _ in ours.top] == ranked[:num_top]
    assert [value for _, value in ours.top] == pytest.approx(
        [floored[each] for each in ranked[:num_top]], abs=1e-9
    )


def test_logprobs_are_finite_whatever_the_token() -> None:
    """H52."""
    (ours,) = token_logprobs(torch.tensor([[0.0, -math.inf, -3e38]]), [1], num_top=3)
    assert ours.logprob == LOWEST_LOGPROB
    assert [value for _, value in ours.top] == [0.0, LOWEST_LOGPROB, LOWEST_LOGPROB]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logprobs_of_unusable_rows_are_an_error(bad: float) -> None:
    """H46, H52: a floor would turn NaN into a number."""
    with pytest.raises(NumericalError):
        token_logprobs(torch.tensor([[0.0, 1.0], [bad, 0.0]]), [0, 1], num_top=0)


def test_many_rows_of_a_large_vocabulary_give_what_each_gives_alone() -> None:
    logits_RV = torch.randn(70, 100_000, generator=torch.Generator().manual_seed(2))
    ids = list(range(0, 70_000, 1000))
    together = token_logprobs(logits_RV, ids, num_top=2)
    for row in (0, 40, 41, 42, 69):
        alone = token_logprobs(logits_RV[row : row + 1], ids[row : row + 1], num_top=2)
        assert [together[row]] == alone
    assert len(together) == 70


def test_reported_logprobs_are_those_before_any_parameter() -> None:
    logits_V = torch.tensor([0.1, 0.2, 0.7]).log()
    request = Submit(
        request_id=1,
        prompt_ids=[2],
        max_tokens=5,
        temperature=0.0,
        logit_bias=((0, 50.0),),
        repetition_penalty=3.0,
        logprobs=2,
    )
    (result,) = sample(logits_V[None], [Sequence(request)])
    assert isinstance(result, Choice)
    assert result.token_id == 0
    assert result.logprob is not None
    assert result.logprob.logprob == pytest.approx(math.log(0.1))
    assert result.logprob.rank == 3
    assert [each for each, _ in result.logprob.top] == [2, 1]


def test_rows_that_are_sampled_in_another_order_keep_their_own_logprobs() -> None:
    """Greedy rows, and rows of equal top-k, are computed together."""
    logits_RV = torch.eye(6) * torch.arange(1.0, 7.0)
    sequences = [
        Sequence(
            Submit(
                request_id=1,
                prompt_ids=[0],
                max_tokens=5,
                logprobs=1,
                top_k=top_k,
                temperature=temperature,
            )
        )
        for top_k, temperature in ((3, 1.0), (0, 0.0), (2, 1.0), (0, 1.0), (0, 0.0), (3, 1.0))
    ]
    results = sample(logits_RV, sequences)
    for row, result in enumerate(results):
        assert isinstance(result, Choice)
        assert result.logprob is not None
        ((likeliest, logprob),) = result.logprob.top
        assert likeliest == row
        assert logprob == pytest.approx(float(logits_RV[row].double().log_softmax(0)[row]))
