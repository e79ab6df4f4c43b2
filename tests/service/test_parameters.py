"""The one table of parameters, and the words that clients and proto share."""

from dataclasses import fields, replace

import pytest
from nextword.v1 import text_generation_pb2 as pb

from service.errors import ErrorKind, RequestError
from service.parameter_rules import PARAMETER_RULES
from service.parameters import (
    EffectiveParameters,
    ModelDefaults,
    RequestedParameters,
    check_num_choices,
    check_num_reports,
    num_reports,
    resolve_parameters,
)


def resolve(requested: RequestedParameters, num_prompt_tokens: int = 10) -> EffectiveParameters:
    return resolve_parameters(
        requested,
        ModelDefaults(max_tokens=50, temperature=0.7),
        num_prompt_tokens=num_prompt_tokens,
        context_tokens=100,
        vocabulary_size=20,
    )


def test_proto_and_table_have_the_same_parameters_in_the_same_order() -> None:
    assert [field.name for field in pb.SamplingParameters.DESCRIPTOR.fields] == list(
        PARAMETER_RULES
    )
    offered = {field.name for field in fields(EffectiveParameters)}
    assert offered == set(PARAMETER_RULES)


def test_every_scalar_of_the_proto_parameters_tells_zero_from_absent() -> None:
    """Interfaces 30."""
    for field in pb.SamplingParameters.DESCRIPTOR.fields:
        assert field.is_repeated or field.has_presence, field.name


def test_max_tokens_is_the_models_default_or_what_the_context_leaves() -> None:
    """H36, H23."""
    assert resolve(RequestedParameters()).max_tokens == 50
    assert resolve(RequestedParameters(), num_prompt_tokens=90).max_tokens == 11
    assert resolve(RequestedParameters(max_tokens=91)).max_tokens == 91
    with pytest.raises(RequestError) as error:
        resolve(RequestedParameters(max_tokens=92))
    assert error.value.kind is ErrorKind.CONTEXT_LENGTH_EXCEEDED
    assert error.value.metadata == {"n_prompt": "10", "n_ctx": "100"}


def test_top_k_that_removes_nothing_is_off() -> None:
    """H25."""
    for top_k in (-1, 0, 20, 2**31 - 1):
        assert resolve(RequestedParameters(top_k=top_k)).top_k == 0
    assert resolve(RequestedParameters(top_k=19)).top_k == 19


def test_no_tokens_may_be_asked_for_with_echo_alone() -> None:
    """H36."""
    assert resolve(RequestedParameters(max_tokens=0, echo=True)).max_tokens == 0
    # A prompt of the whole context leaves no token's room, and needs none.
    whole = resolve(RequestedParameters(max_tokens=0, echo=True), num_prompt_tokens=100)
    assert whole.max_tokens == 0
    for echo in (None, False):
        with pytest.raises(RequestError) as error:
            resolve(RequestedParameters(max_tokens=0, echo=echo))
        assert error.value.field == "max_tokens"


def test_reports_of_one_answer_are_bounded() -> None:
    """H26: by what they cost together, prompt included where it is echoed."""
    asked = RequestedParameters(n=128, logprobs=20, max_tokens=90, echo=True)
    # 128 choices of 97 tokens, each with itself and 20 rivals, are just below 2^18.
    assert resolve(asked, num_prompt_tokens=7).n == 128
    with pytest.raises(RequestError) as error:
        resolve(asked, num_prompt_tokens=8)
    assert error.value.field == "logprobs"
    resolve(replace(asked, echo=False), num_prompt_tokens=8)
    resolve(replace(asked, logprobs=19), num_prompt_tokens=8)


def test_reports_are_counted_as_they_come_in_the_answer() -> None:
    """H26: what the prompts of a call have together is bounded as what one has."""
    asked = RequestedParameters(n=2, logprobs=4, max_tokens=30)
    for changes, expected in (
        ({}, 2 * 30 * 5),
        ({"echo": True}, 2 * (30 + 10) * 5),
        ({"logprobs": None}, 0),
        ({"logprobs": 0}, 2 * 30),
    ):
        assert num_reports(resolve(replace(asked, **changes)), num_prompt_tokens=10) == expected
    check_num_reports(2**18)
    with pytest.raises(RequestError) as error:
        check_num_reports(2**18 + 1)
    assert error.value.field == "logprobs"


def test_prompts_times_choices_are_bounded_by_one_rule() -> None:
    """H21."""
    check_num_choices(None, num_prompts=128)
    check_num_choices(64, num_prompts=2)
    for n, num_prompts, field in ((65, 2, "n"), (None, 129, "prompt"), (128, 129, "prompt")):
        with pytest.raises(RequestError) as error:
            check_num_choices(n, num_prompts=num_prompts)
        assert error.value.field == field
