"""What is told about a choice: exact, complete, and the choice itself."""

import numpy as np
import pytest
import torch

from campaigns.cases.exact_sampling import exact_probabilities
from campaigns.sampler import Case, make_cases
from service.engine.logprobs import NumericalError
from service.engine.messages import Submit
from service.engine.request import Sequence
from service.engine.sampler import Choice, sample
from service.engine.sampling_trace import SamplingTrace, trace_sampling

CASES = make_cases(120, seed=7)
STAGES = ["model", "penalties", "bias", "temperature", "top_k", "top_p", "min_p"]


def traced(case: Case) -> tuple[SamplingTrace, Sequence]:
    sequence = Sequence(case.request)
    sequence.token_ids += case.output_ids
    return trace_sampling(torch.from_numpy(case.logits_V), sequence), sequence


def test_the_last_stage_is_the_exact_distribution() -> None:
    for case in CASES:
        trace, _ = traced(case)
        exact_V = exact_probabilities(case.logits_V, case.request, case.output_ids)
        shown_V = trace.stages[-1].probabilities_V.numpy()
        assert np.abs(shown_V - exact_V).max() < 1e-6, case.request
        assert ((shown_V > 0) == (exact_V > 1e-9)).all(), case.request


def test_every_stage_is_a_distribution_that_holds_the_chosen_token() -> None:
    """Interfaces 68."""
    for case in CASES:
        trace, sequence = traced(case)
        assert [stage.name for stage in trace.stages] == STAGES
        possible = set(range(case.logits_V.size))
        for stage in trace.stages:
            assert abs(float(stage.probabilities_V.sum()) - 1.0) < 1e-6
            assert float(stage.probabilities_V[trace.token_id]) > 0.0
            assert possible >= set(stage.removed_ids)
            possible -= set(stage.removed_ids)
            assert possible == {
                token for token, each in enumerate(stage.probabilities_V) if float(each) > 0.0
            }
        # The reported number reproduces the token.
        running_V = trace.stages[-1].probabilities_V.cumsum(0)
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
    removed = {stage.name: stage.removed_ids for stage in trace.stages if stage.removed_ids}
    assert removed == {"bias": (5,), "top_k": (4,), "top_p": (3,)}
    stronger = Submit(request_id=1, prompt_ids=[0], max_tokens=9, min_p=0.7)
    assert trace_sampling(logits_V, Sequence(stronger)).stages[-1].removed_ids == (2, 3, 4, 5)


def test_greedy_choice_is_shown_as_the_one_possible_token() -> None:
    request = Submit(request_id=1, prompt_ids=[0], max_tokens=9, temperature=0.0)
    trace = trace_sampling(torch.tensor([1.0, 2.0, 2.0]), Sequence(request))
    assert trace.token_id == 1
    assert trace.stages[-1].probabilities_V.tolist() == [0.0, 1.0, 0.0]
    assert trace.stages[3].removed_ids == (0, 2)


def test_what_cannot_be_sampled_cannot_be_traced() -> None:
    request = Submit(request_id=1, prompt_ids=[0], max_tokens=9, logit_bias=((3, 1.0),))
    with pytest.raises(NumericalError):
        trace_sampling(torch.tensor([1.0, float("nan"), 2.0]), Sequence(request))
    with pytest.raises(ValueError, match=r"0\.\.2, got 3"):
        trace_sampling(torch.zeros(3), Sequence(request))
