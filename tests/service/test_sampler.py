"""Each stage of the sampler by its definition, and the drawn tokens against exact probabilities."""

import itertools
import math
from typing import TypedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.engine.messages import Submit
from service.engine.request import Sequence
from service.engine.sampler import NumericalError, choose_token, kept_weights


class Stages(TypedDict):
    """What shapes a distribution."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float


def sequence(**parameters: object) -> Sequence:
    values: dict[str, object] = {"request_id": 1, "prompt_ids": [0], "max_tokens": 10, **parameters}
    return Sequence(Submit(**values))  # pyright: ignore[reportArgumentType]


def rows(values_V: torch.Tensor) -> list[float]:
    """A vector as plain numbers."""
    return [float(value) for value in values_V]


def reference(
    logits: list[float], *, temperature: float, top_k: int, top_p: float, min_p: float
) -> list[float]:
    """Probabilities by the definitions, in plain Python."""
    kept = [logit / temperature for logit in logits]
    if top_k:
        kth = sorted(kept, reverse=True)[min(top_k, len(kept)) - 1]
        kept = [logit if logit >= kth else -math.inf for logit in kept]
    largest = max(kept)
    weights = [math.exp(logit - largest) for logit in kept]
    probabilities = [weight / sum(weights) for weight in weights]
    order = sorted(range(len(kept)), key=lambda token: (-probabilities[token], token))
    before = 0.0
    for rank, token in enumerate(order):
        if rank and top_p < 1.0 and before >= top_p:
            probabilities[token] = 0.0
        else:
            before += probabilities[token]
    limit = min_p * max(probabilities)
    probabilities = [each if each >= limit else 0.0 for each in probabilities]
    return [each / sum(probabilities) for each in probabilities]


CASES = [
    (seed, Stages(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p))
    for seed, (temperature, top_k, top_p, min_p) in enumerate(
        itertools.product((0.3, 0.8, 1.0, 2.5), (0, 2, 7), (0.35, 0.9, 1.0), (0.0, 0.05, 0.3))
    )
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_weights_are_the_exact_probabilities(case: tuple[int, Stages]) -> None:
    seed, stages = case
    logits_V = torch.randn(40, generator=torch.Generator().manual_seed(seed)) * 2
    weights_V = kept_weights(logits_V, **stages).double()
    expected_V = torch.tensor(reference(rows(logits_V), **stages), dtype=torch.float64)
    assert torch.allclose(weights_V / weights_V.sum(), expected_V, atol=1e-6)
    assert (weights_V == 0).tolist() == (expected_V < 2**-31).tolist()


def test_drawn_tokens_have_their_probabilities() -> None:
    """Interfaces 70: chi-square over all cases together, at one in a million."""
    num_draws, statistic, freedom = 300, 0.0, 0
    for seed, stages in CASES[::3]:
        logits_V = torch.randn(12, generator=torch.Generator().manual_seed(seed)) * 1.5
        expected = reference(rows(logits_V), **stages)
        counts = [0] * 12
        for draw in range(num_draws):
            drawn = choose_token(logits_V, sequence(seed=seed * 100_003 + draw, **stages))
            counts[drawn] += 1
        rare = [token for token in range(12) if 0 < num_draws * expected[token] < 5]
        cells = [
            (counts[token], num_draws * expected[token])
            for token in range(12)
            if num_draws * expected[token] >= 5
        ]
        if rare:
            cells.append((sum(counts[t] for t in rare), sum(num_draws * expected[t] for t in rare)))
        assert all(counts[token] == 0 for token in range(12) if expected[token] == 0)
        statistic += sum((seen - mean) ** 2 / mean for seen, mean in cells if mean > 0.5)
        freedom += len(cells) - 1
    # Wilson and Hilferty's normal approximation; 4.75 standard deviations are one in a million.
    score = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(
        2 / (9 * freedom)
    )
    assert abs(score) < 4.75, (statistic, freedom)


@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=30), st.integers(0, 2**64 - 1))
def test_greedy_and_top_k_of_one_take_the_lowest_of_the_likeliest(
    logits: list[float], seed: int
) -> None:
    """H54, interfaces 69."""
    logits_V = torch.tensor(logits)
    best = logits.index(max(logits))
    assert choose_token(logits_V, sequence(temperature=0.0, seed=seed)) == best
    assert choose_token(logits_V, sequence(temperature=9e-6, seed=seed)) == best
    assert choose_token(logits_V, sequence(top_k=1, temperature=5.0, seed=seed)) == best


def test_logits_of_any_size_can_be_cooled_without_overflow() -> None:
    weights_V = kept_weights(
        torch.tensor([3e38, 2e38, -3e38]),
        **Stages(temperature=1.1e-5, top_k=0, top_p=1.0, min_p=0.0),
    )
    assert weights_V.tolist() == [2**30, 0, 0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_unusable_logits_end_the_request(bad: float) -> None:
    """H46."""
    with pytest.raises(NumericalError):
        choose_token(torch.tensor([0.0, bad, 1.0]), sequence())
    with pytest.raises(NumericalError):
        choose_token(torch.full((3,), -math.inf), sequence(temperature=0.0))


def test_penalties_bias_and_bans_change_the_logits_as_documented() -> None:
    logits_V = torch.tensor([4.0, 3.0, -1.0, 2.0])

    def greedy(output_ids: list[int], **parameters: object) -> int:
        subject = sequence(temperature=0.0, **parameters)
        subject.token_ids += output_ids
        return choose_token(logits_V, subject)

    assert greedy([]) == 0
    # The prompt's token counts for repetition only.
    assert greedy([], repetition_penalty=1.5) == 1
    assert greedy([], presence_penalty=50.0) == 0
    assert greedy([0], presence_penalty=1.5) == 1
    # Presence takes once, frequency each time.
    assert greedy([0, 0, 0], presence_penalty=0.9) == 0
    assert greedy([0, 0, 0], frequency_penalty=0.9) == 1
    assert greedy([], logit_bias=((2, 5.5),)) == 2
    assert greedy([], logit_bias=((0, -100.0), (1, -100.0))) == 3
    assert greedy([], min_tokens=1, end_token_ids=(0,), stop_token_ids=(1,)) == 3
    assert greedy([2], min_tokens=1, end_token_ids=(0,), stop_token_ids=(1,)) == 0
    with pytest.raises(NumericalError):
        greedy([], min_tokens=1, stop_token_ids=(0, 1, 2, 3))
