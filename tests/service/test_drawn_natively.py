"""Tokens drawn by the compiled kernels are those of the sampler in torch, whatever is asked for."""

import ctypes
import math
import random
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from service.engine import sampler
from service.engine.cpu.kernel_library import instruction_sets, load_library
from service.engine.drawn_natively import BAD_CHANGED, BAD_LOGITS, NOT_DRAWN, draw_natively
from service.engine.messages import EngineFinish, Submit
from service.engine.request import Sequence
from service.engine.sampler import Choice, FailedChoice, sample
from service.engine.trace_messages import Inspection

MINUS_INFINITY = float("-inf")
SETS = instruction_sets(load_library())


def sequence(*output_ids: int, **parameters: object) -> Sequence:
    values: dict[str, object] = {"request_id": 1, "prompt_ids": [0], "max_tokens": 99, **parameters}
    subject = Sequence(Submit(**values), choice=2)  # pyright: ignore[reportArgumentType]
    subject.token_ids += output_ids
    return subject


def in_torch(logits_RV: Tensor, sequences: list[Sequence]) -> list[int]:
    """What the sampler in torch says, in the words of the kernels."""
    found: list[int] = []
    for row, subject in enumerate(sequences):
        (result,) = sampler._sample_in_torch(  # pyright: ignore[reportPrivateUsage]
            logits_RV[row : row + 1], [subject], {}
        )
        if isinstance(result, Choice):
            found.append(result.token_id)
        else:
            found.append(BAD_LOGITS if "model" in str(result.error) else BAD_CHANGED)
    return found


def assert_same(logits_RV: Tensor, sequences: list[Sequence]) -> None:
    expected = in_torch(logits_RV, sequences)
    before_RV = logits_RV.clone()
    for name in SETS:
        drawn = draw_natively(logits_RV, sequences, instruction_set=name)
        assert drawn is not None
        assert drawn == expected, name
    assert torch.equal(logits_RV.isnan(), before_RV.isnan())
    assert torch.equal(logits_RV.nan_to_num(), before_RV.nan_to_num()), "logits are not written to"


def parameters(vocabulary: int) -> st.SearchStrategy[dict[str, object]]:
    token = st.integers(0, vocabulary - 1)
    return st.fixed_dictionaries(
        {"seed": st.integers(0, 2**64 - 1)},
        optional={
            "temperature": st.sampled_from([0.0, 9e-6, 2e-5, 0.3, 0.8, 1.0, 3.0, 100.0]),
            "top_k": st.sampled_from([0, 1, 2, 3, 10, 50, vocabulary - 1, vocabulary, 10**12]),
            "top_p": st.floats(1e-9, 1.0) | st.sampled_from([0.5, 0.9, 0.95, 1.0]),
            "min_p": st.floats(0.0, 1.0) | st.sampled_from([0.0, 0.02, 0.05]),
            "repetition_penalty": st.floats(0.1, 5.0),
            "presence_penalty": st.floats(-3.0, 3.0),
            "frequency_penalty": st.floats(-3.0, 3.0),
            "logit_bias": st.dictionaries(token, st.floats(-100.0, 100.0), max_size=4).map(
                lambda bias: tuple(bias.items())
            ),
            "end_token_ids": st.tuples(token),
            "stop_token_ids": st.tuples(token, token),
            "min_tokens": st.sampled_from([0, 1, 5]),
            "prompt_ids": st.lists(token, min_size=1, max_size=5),
        },
    )


def logits_of(kind: str, vocabulary: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    match kind:
        case "peaked":
            row = rng.normal(0.0, 8.0, vocabulary)
        case "ties":
            row = rng.choice([MINUS_INFINITY, -2.5, -0.0, 0.0, 1.0, 1.5], vocabulary)
            row[seed % vocabulary] = 1.5
        case "flat":
            row = rng.normal(0.0, 1e-3, vocabulary)
        case "equal":
            row = np.full(vocabulary, -7.25)
        case "large":
            row = rng.choice([-3e38, -1e30, 0.0, 2e38, 3e38], vocabulary)
        case _:
            row = rng.normal(0.0, 2.0, vocabulary)
    return torch.tensor(row, dtype=torch.float32)


KINDS = ("normal", "peaked", "ties", "flat", "equal", "large")
NOTHING: Mapping[str, object] = {}


@given(data=st.data(), vocabulary=st.sampled_from([2, 7, 31, 64, 65, 255, 256, 257, 1000, 4096]))
def test_all_combinations_of_parameters_draw_the_same_tokens(
    data: st.DataObject, vocabulary: int
) -> None:
    rows = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(KINDS),
                st.integers(0, 2**32),
                parameters(vocabulary),
                st.lists(st.integers(0, vocabulary - 1), max_size=6),
            ),
            min_size=1,
            max_size=5,
        )
    )
    logits_RV = torch.stack([logits_of(kind, vocabulary, seed) for kind, seed, _, _ in rows])
    assert_same(logits_RV, [sequence(*ids, **values) for _, _, values, ids in rows])


def test_many_rows_of_large_vocabularies_draw_the_same_tokens() -> None:
    chance = random.Random(5)
    for vocabulary in (8192, 32_000, 50_257):
        logits_RV = torch.stack(
            [logits_of(chance.choice(KINDS), vocabulary, number) for number in range(24)]
        )
        sequences = [
            sequence(
                *(chance.randrange(vocabulary) for _ in range(5)),
                seed=chance.getrandbits(64),
                temperature=chance.choice([0.0, 0.2, 0.8, 1.0, 2.0]),
                top_k=chance.choice([0, 0, 2, 50, 300, 5000]),
                top_p=chance.choice([1.0, 0.3, 0.9, 0.999]),
                min_p=chance.choice([0.0, 0.0, 0.01]),
                repetition_penalty=chance.choice([1.0, 1.3]),
            )
            for _ in range(24)
        ]
        assert_same(logits_RV, sequences)


@pytest.mark.parametrize("name", SETS)
def test_every_share_of_top_p_cuts_at_the_same_token(name: str) -> None:
    for kind in ("normal", "ties", "equal", "flat", "steep"):
        # All but one token of the steep ones weigh next to nothing.
        steepness = 300 if kind == "steep" else 1
        logits_1V = logits_of("flat" if kind == "steep" else kind, 3000, 3)[None] * steepness
        for step in range(1, 40):
            subject = sequence(top_p=step / 40, seed=step, temperature=0.7)
            drawn = draw_natively(logits_1V, [subject], instruction_set=name)
            assert drawn is not None
            assert drawn == in_torch(logits_1V, [subject]), (kind, step)


@pytest.mark.parametrize("value", [math.nan, math.inf, MINUS_INFINITY])
@pytest.mark.parametrize("place", [0, 5, 69])
def test_rows_without_a_distribution_are_named(value: float, place: int) -> None:
    logits_RV = torch.randn(3, 70, generator=torch.Generator().manual_seed(1))
    logits_RV[1, slice(None) if value == MINUS_INFINITY else place] = value
    banned = sequence(min_tokens=4, stop_token_ids=tuple(range(70)))
    subjects = [sequence(seed=1), sequence(seed=2), banned]
    assert_same(logits_RV, subjects)
    kinds = [result for result in sample(logits_RV, subjects) if isinstance(result, FailedChoice)]
    assert [each.finish for each in kinds] == [EngineFinish.NUMERICAL_ERROR] * 2
    assert str(kinds[0].error).startswith("the model's logits")
    assert str(kinds[1].error).startswith("the logits after penalties")


def test_weights_are_those_of_the_sampler() -> None:
    """Not only the token that they give."""
    from service.engine.weight_stages import weights

    library = load_library()
    largest_error = 0
    for seed in range(8):
        logits_V = logits_of(KINDS[seed % 4], 100_003, seed)
        temperature = [0.05, 0.3, 1.0, 2.0][seed // 2]
        expected = weights(logits_V[None], [temperature])[0].to(torch.int32)
        for name in SETS:
            found = torch.empty(100_003, dtype=torch.int32)
            status = library.nextword_draw_weights(
                ctypes.c_void_p(logits_V.data_ptr()),
                100_003,
                ctypes.c_float(temperature),
                ctypes.c_void_p(found.data_ptr()),
                name.encode(),
            )
            assert status == 0
            largest_error = max(largest_error, int((found - expected).abs().max()))
    assert largest_error == 0


def test_penalties_follow_a_text_that_grows() -> None:
    logits_1V = torch.randn(1, 50, generator=torch.Generator().manual_seed(2))
    subject = sequence(
        prompt_ids=[3, 4], repetition_penalty=1.7, presence_penalty=0.4, frequency_penalty=0.3
    )
    chance = random.Random(1)
    for _ in range(60):
        assert_same(logits_1V, [subject])
        subject.token_ids.append(chance.randrange(50))
        if chance.random() < 0.3:
            subject.token_ids.append(chance.randrange(50))


def test_what_is_inspected_or_impossible_is_left_to_the_sampler_in_torch() -> None:
    logits_RV = torch.randn(4, 40, generator=torch.Generator().manual_seed(3))
    looked_at = sequence(inspect=Inspection(3))
    subjects = [sequence(seed=1), looked_at, sequence(seed=-1), sequence(seed=4)]
    drawn = draw_natively(logits_RV, subjects)
    assert drawn is not None
    assert [token_id == NOT_DRAWN for token_id in drawn] == [False, True, True, False]
    # An id beyond the vocabulary: which row it is says the sampler in torch.
    assert draw_natively(logits_RV, [sequence(logit_bias=((40, 1.0),))] * 4) is None
    results = sample(logits_RV, subjects)
    assert isinstance(results[2], FailedChoice)
    assert isinstance(results[1], Choice)
    assert results[1].trace is not None


def test_logits_of_other_kinds_are_left_to_the_sampler_in_torch() -> None:
    logits_RV = torch.randn(2, 40, generator=torch.Generator().manual_seed(3))
    subjects = [sequence(seed=1), sequence(seed=2)]
    assert draw_natively(logits_RV.double(), subjects) is None
    assert draw_natively(logits_RV.repeat(1, 2)[:, ::2], subjects) is None
    wide_RV = torch.cat([logits_RV, logits_RV], dim=1)[:, :40]
    assert draw_natively(wide_RV, subjects) == draw_natively(logits_RV, subjects)
