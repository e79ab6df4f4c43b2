"""The one table of parameters, and the words that clients, proto and settings share."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from nextword.v1 import text_generation_pb2 as pb

from service.errors import ErrorKind, RequestError
from service.parameter_rules import PARAMETER_RULES
from service.parameters import (
    EffectiveParameters,
    ModelDefaults,
    RequestedParameters,
    resolve_parameters,
)
from service.settings import Settings, SettingsError, load_settings

REPOSITORY = Path(__file__).resolve().parents[2]


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


def test_settings_come_from_flag_then_environment_then_default() -> None:
    """Interfaces 50."""
    environment = {"NEXTWORD_REST_PORT": "9000", "NEXTWORD_GRPC_PORT": "9001"}
    loaded = load_settings(["--rest-port", "7000"], environment)
    assert (loaded.settings.rest_port, loaded.settings.grpc_port) == (7000, 9001)
    assert loaded.settings.host == "127.0.0.1"
    sources = [loaded.sources[name] for name in ("rest_port", "grpc_port", "host")]
    assert sources == ["flag", "environment", "default"]
    for field in fields(Settings):
        assert re.search(rf"^{field.name} = .* \(\w+\)$", loaded.table(), re.MULTILINE)


def test_model_may_be_given_more_than_once() -> None:
    assert load_settings(["--model", "a", "--model", "b=c"], {}).settings.model == ("a", "b=c")
    assert load_settings([], {"NEXTWORD_MODEL": "a,b=c"}).settings.model == ("a", "b=c")


@pytest.mark.parametrize(
    ("flags", "environment", "named"),
    [
        (["--rest-port", "70000"], {}, "--rest-port"),
        (["--rest-port", "web"], {}, "--rest-port"),
        (["--threads", "0"], {}, "--threads"),
        (["--drain-timeout", "nan"], {}, "--drain-timeout"),
        (["--dtype", "f16"], {}, "--dtype"),
        (["--host", ""], {}, "--host"),
        ([], {"NEXTWORD_MAX_QUEUED": "-1"}, "NEXTWORD_MAX_QUEUED"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(
    flags: list[str], environment: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(flags, environment)
    assert str(error.value).startswith(named)
