"""What is told about a choice: exact, complete, and the choice itself."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from campaigns.cases.exact_sampling import exact_probabilities
from campaigns.sampler import Case, make_cases
from service.engine import token_trace
from service.engine.logprobs import NumericalError
from service.engine.messages import Submit
from service.engine.request import Sequence
from service.engine.sampler import Choice, sample
from service.engine.sampling_trace import SamplingTrace, trace_sampling
from service.engine.token_trace import TraceMismatchError, trace_chosen
from service.engine.trace_messages import STAGE_NAMES, Inspection

CASES = make_cases(120, seed=7)


def traced(case: Case) -> tuple[SamplingTrace, Sequence]:
    sequence = Sequence(case.request)
    sequence.token_ids += case.output_ids
    return trace_sampling(torch.from_numpy(case.logits_V), sequence), sequence


def removed_ids(trace: SamplingTrace) -> dict[str, list[int]]:
    """By stage, the tokens that could be drawn before it and not after it."""
    lost: dict[str, list[int]] = {}
    for name, (before_V, after_V) in zip(
        STAGE_NAMES[1:], itertools.pairwise(trace.probabilities_V), strict=True
    ):
        lost[name] = ((before_V > 0) & (after_V == 0)).nonzero()[:, 0].tolist()
    return {name: ids for name, ids in lost.items() if ids}


def test_the_last_stage_is_the_exact_distribution() -> None:
    for case in CASES:
        trace, _ = traced(case)
        exact_V = exact_probabilities(case.logits_V, case.request, case.output_ids)
        shown_V = trace.probabilities_V[-1].numpy()
        assert np.abs(shown_V - exact_V).max() < 1e-6, case.request
        assert ((shown_V > 0) == (exact_V > 1e-9)).all(), case.request


def test_every_stage_is_a_distribution_that_holds_the_chosen_token() -> None:
    """Interfaces 68."""
    for case in CASES:
        trace, sequence = traced(case)
        assert len(trace.probabilities_V) == len(STAGE_NAMES)
        possible_V = torch.ones(case.logits_V.size, dtype=torch.bool)
        for shares_V in trace.probabilities_V:
            assert abs(float(shares_V.sum()) - 1.0) < 1e-6
            assert float(shares_V[trace.token_id]) > 0.0
            # What was cut does not come back.
            assert not ((shares_V > 0) & ~possible_V).any()
            possible_V = shares_V > 0
        # The reported number reproduces the token.
        running_V = trace.probabilities_V[-1].cumsum(0)
        token = int((running_V <= trace.random_word / 2**32).sum())
        assert token == trace.token_id
        (drawn,) = sample(torch.from_numpy(case.logits_V)[None], [sequence])
        assert isinstance(drawn, Choice)
        assert drawn.token_id == trace.token_id


def test_each_token_is_removed_by_the_stage_that_removed_it() -> None:
    request = Submit(
        request_id=1,
        prompt_ids=[0],
        max_tokens=9,
        min_tokens=1,
        stop_token_ids=(5,),
        top_k=4,
        top_p=0.9,
        min_p=0.4,
    )
    logits_V = torch.tensor([0.3, 0.25, 0.2, 0.06, 0.05, 0.14]).log()
    trace = trace_sampling(logits_V, Sequence(request))
    assert removed_ids(trace) == {"bias": [5], "top_k": [4], "top_p": [3]}
    stronger = Submit(request_id=1, prompt_ids=[0], max_tokens=9, min_p=0.7)
    assert removed_ids(trace_sampling(logits_V, Sequence(stronger))) == {"min_p": [2, 3, 4, 5]}


def test_greedy_choice_is_shown_as_the_one_possible_token() -> None:
    request = Submit(request_id=1, prompt_ids=[0], max_tokens=9, temperature=0.0)
    trace = trace_sampling(torch.tensor([1.0, 2.0, 2.0]), Sequence(request))
    assert trace.token_id == 1
    assert trace.probabilities_V[-1].tolist() == [0.0, 1.0, 0.0]
    assert removed_ids(trace) == {"temperature": [0, 2]}


def test_what_cannot_be_sampled_cannot_be_traced() -> None:
    request = Submit(request_id=1, prompt_ids=[0], max_tokens=9, logit_bias=((3, 1.0),))
    with pytest.raises(NumericalError):
        trace_sampling(torch.tensor([1.0, float("nan"), 2.0]), Sequence(request))
    with pytest.raises(ValueError, match=r"0\.\.2, got 3"):
        trace_sampling(torch.zeros(3), Sequence(request))


def test_a_trace_that_is_not_of_the_choice_says_so_without_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H114: the message is logged, and a token's id is a piece of somebody's text."""
    logits_V = torch.zeros(64)
    sequence = Sequence(Submit(request_id=1, prompt_ids=[1], max_tokens=2, seed=3))
    true = trace_sampling(logits_V, sequence)
    trace_chosen(logits_V, sequence, true.token_id, Inspection(2))
    with pytest.raises(TraceMismatchError) as of_choice:
        trace_chosen(logits_V, sequence, (true.token_id + 1) % 64, Inspection(2))
    wrong = replace(true, random_word=(true.random_word + 2**31) % 2**32)

    def trace_wrongly(logits_V: torch.Tensor, sequence: Sequence) -> SamplingTrace:
        return wrong

    monkeypatch.setattr(token_trace, "trace_sampling", trace_wrongly)
    with pytest.raises(TraceMismatchError) as of_number:
        trace_chosen(logits_V, sequence, true.token_id, Inspection(2))
    for caught in (of_choice, of_number):
        assert not any(letter.isdigit() for letter in str(caught.value))
