"""One body, four ways to send it: the same text, tokens, verdicts and parameters."""

import json
import math

import pytest

from tests.contract.callers import Caller, Callers
from tests.contract.live_server import Server

REASONS = ("end_of_text", "stop", "length")
BASE = {"prompt": "Once upon a time", "max_tokens": 24, "seed": 7}

VALID: dict[str, dict[str, object]] = {
    "sampled": {},
    "greedy": {"temperature": 0},
    "tiny temperature": {"temperature": 1e-45},
    "minus zero temperature": {"temperature": -0.0},
    "top_k": {"top_k": 3},
    "top_k above the vocabulary": {"top_k": 100_000},
    "top_k minus one": {"top_k": -1},
    "top_p": {"top_p": 0.4},
    "min_p": {"min_p": 0.2},
    "penalties": {"repetition_penalty": 1.5, "presence_penalty": 1.0, "frequency_penalty": 0.5},
    "logit bias": {"logit_bias": {"66": 50.0, "67": 49.5}},
    "stop token": {"stop_token_ids": list(range(60, 90)), "ignore_eos": True},
    "stop after some tokens": {"stop_token_ids": list(range(40, 100)), "min_tokens": 6},
    "prompt ids": {"prompt": None, "prompt_ids": [80, 81, 82]},
    "one token": {"max_tokens": 1},
    "largest seed": {"seed": 2**64 - 1},
    "NUL in the prompt": {"prompt": "a\0b"},
    "control token's string": {"prompt": "<|endoftext|> is only text"},
    "control token parsed": {"prompt": "a<|endoftext|>", "parse_special_tokens": True},
    "many scripts": {"prompt": "Ünïcödé 漢字 \U0001f600 עברית"},
    "model by name": {"model": "tiny"},
    "model with version": {"model": "tiny@1"},
    "n of one": {"n": 1},
    "echo off": {"echo": False},
    "several choices": {"n": 5, "temperature": 2.0},
    "choices that stop apart": {"n": 4, "temperature": 1.5, "stop": ["e", "q"]},
    "logprobs": {"logprobs": 3, "temperature": 1.5},
    "no rivals": {"logprobs": 0},
    "all rivals": {"logprobs": 20, "n": 2, "logit_bias": {"66": -100.0}},
    "echo": {"echo": True, "n": 2},
    "echo alone": {"echo": True, "max_tokens": 0},
    "echo with logprobs": {"echo": True, "logprobs": 2, "n": 3},
    "a prompt's logprobs": {"echo": True, "logprobs": 1, "max_tokens": 0},
    "echo of ids": {"prompt": None, "prompt_ids": [240, 159, 160], "echo": True, "logprobs": 0},
    "stop and logprobs": {"logprobs": 1, "stop": ["e", "a"], "n": 3, "temperature": 1.5},
}


@pytest.mark.parametrize("changes", VALID.values(), ids=list(VALID))
def test_every_way_gives_the_same_answer(
    server: Server, callers: Callers, changes: dict[str, object]
) -> None:
    body = {name: value for name, value in (BASE | changes).items() if value is not None}
    outcomes = {name: call(server, body) for name, call in callers.items()}
    first = outcomes.pop("rest_whole")
    assert first.code is None
    num_prompt = first.usage["prompt_tokens"] if body.get("echo") else 0
    made = [len(choice.token_ids) - num_prompt for choice in first.choices]
    assert len(made) == first.parameters["n"] == body.get("n", 1)
    assert first.usage["completion_tokens"] == sum(made)
    assert all(choice.finish_reason in REASONS for choice in first.choices)
    for choice in first.choices:
        assert len(choice.logprobs) == (len(choice.token_ids) if "logprobs" in body else 0)
    assert first.usage["total_tokens"] == sum(
        first.usage[name] for name in ("prompt_tokens", "completion_tokens")
    )
    for name, outcome in outcomes.items():
        outcome.num_messages = 1
        for choice in outcome.choices:
            assert choice.num_echoed == (num_prompt if "stream" in name else 0), name
            choice.num_echoed = 0
        assert outcome == first, name


def test_an_empty_request_resolves_to_the_models_defaults(server: Server, call: Caller) -> None:
    outcome = call(server, {"prompt": "x"})
    assert 0 <= outcome.parameters.pop("seed") < 2**53
    assert outcome.parameters == {
        "max_tokens": 12,
        "min_tokens": 0,
        "temperature": 0.9,
        "top_k": 40,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop": [],
        "stop_token_ids": [],
        "n": 1,
        "logit_bias": {},
        "logprobs": None,
        "echo": False,
        "ignore_eos": False,
    }


def test_the_reported_seed_repeats_the_text(server: Server, call: Caller) -> None:
    first = call(server, {"prompt": "x", "temperature": 2.0, "top_k": 0})
    again = call(
        server, {"prompt": "x", "temperature": 2.0, "top_k": 0, "seed": first.parameters["seed"]}
    )
    other = call(server, {"prompt": "x", "temperature": 2.0, "top_k": 0})
    assert first.token_ids == again.token_ids
    assert first.token_ids != other.token_ids


INVALID: dict[str, tuple[dict[str, object], str, str]] = {
    "empty prompt": ({"prompt": ""}, "invalid_value", "prompt"),
    "no prompt": ({"prompt": None}, "invalid_value", "prompt"),
    "no ids": ({"prompt": None, "prompt_ids": []}, "invalid_value", "prompt_ids"),
    "id minus one": ({"prompt": None, "prompt_ids": [-1]}, "invalid_value", "prompt_ids"),
    "id beyond": ({"prompt": None, "prompt_ids": [257]}, "invalid_value", "prompt_ids"),
    "prompt too long": ({"prompt": "x" * 4097}, "context_length_exceeded", "prompt"),
    "far too long": ({"prompt": "x" * 500_000}, "context_length_exceeded", "prompt"),
    "no room": ({"max_tokens": 4096}, "context_length_exceeded", "max_tokens"),
    "no tokens": ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    "no tokens, no echo": ({"max_tokens": 0, "echo": False}, "invalid_value", "max_tokens"),
    "negative tokens": ({"max_tokens": -5}, "invalid_value", "max_tokens"),
    "min above max": ({"min_tokens": 25}, "invalid_value", "min_tokens"),
    "hot": ({"temperature": 100.5}, "invalid_value", "temperature"),
    "huge": ({"temperature": 1e308}, "invalid_value", "temperature"),
    "cold": ({"temperature": -0.1}, "invalid_value", "temperature"),
    "top_k": ({"top_k": -2}, "invalid_value", "top_k"),
    "top_p none": ({"top_p": 0.0}, "invalid_value", "top_p"),
    "top_p above": ({"top_p": 1.01}, "invalid_value", "top_p"),
    "min_p": ({"min_p": -0.5}, "invalid_value", "min_p"),
    "repetition": ({"repetition_penalty": 0.0}, "invalid_value", "repetition_penalty"),
    "presence": ({"presence_penalty": 101.0}, "invalid_value", "presence_penalty"),
    "frequency": ({"frequency_penalty": -101.0}, "invalid_value", "frequency_penalty"),
    "five stops": ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_value", "stop"),
    "empty stop": ({"stop": [""]}, "invalid_value", "stop"),
    "long stop": ({"stop": ["x" * 257]}, "invalid_value", "stop"),
    "stop id": ({"stop_token_ids": [257]}, "invalid_value", "stop_token_ids"),
    "many stop ids": ({"stop_token_ids": [1] * 65}, "invalid_value", "stop_token_ids"),
    "bias of no token": ({"logit_bias": {"257": 1.0}}, "invalid_value", "logit_bias"),
    "bias too large": ({"logit_bias": {"1": 100.5}}, "invalid_value", "logit_bias"),
    "no choice": ({"n": 0}, "invalid_value", "n"),
    "minus one choice": ({"n": -1}, "invalid_value", "n"),
    "too many choices": ({"n": 129}, "invalid_value", "n"),
    "logprobs minus one": ({"logprobs": -1}, "invalid_value", "logprobs"),
    "logprobs 21": ({"logprobs": 21}, "invalid_value", "logprobs"),
    "logprobs of all": ({"logprobs": 10**9}, "invalid_value", "logprobs"),
    "too many reports": (
        {"n": 128, "logprobs": 20, "max_tokens": 100},
        "invalid_value",
        "logprobs",
    ),
    "no time": ({"timeout_seconds": 0.0}, "invalid_value", "timeout_seconds"),
    "unknown model": ({"model": "nobody"}, "model_not_found", "model"),
    "unknown version": ({"model": "tiny@2"}, "model_not_found", "model"),
    "path as model": ({"model": "../../etc/passwd"}, "model_not_found", "model"),
}


@pytest.mark.parametrize("case", INVALID.values(), ids=list(INVALID))
def test_bad_values_get_the_same_verdict_everywhere(
    server: Server, callers: Callers, case: tuple[dict[str, object], str, str]
) -> None:
    """H20 to H28, H36 to H38, H40, H133."""
    changes, code, field = case
    body = {name: value for name, value in (BASE | changes).items() if value is not None}
    not_found = code == "model_not_found"
    for name, call in callers.items():
        outcome = call(server, body)
        assert (outcome.code, outcome.field) == (code, field), name
        expected = (404, "NOT_FOUND") if not_found else (400, "INVALID_ARGUMENT")
        assert outcome.status in expected, name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "timeout_seconds"])
def test_numbers_that_are_none_are_refused(
    server: Server, callers: Callers, name: str, value: object
) -> None:
    """H24. JSON has no such numbers, so over REST the whole body is none."""
    content = json.dumps(BASE | {name: value}).encode()
    headers = {"content-type": "application/json"}
    response = server.post("/v1/generate", None, content=content, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    spelled = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    for way in ("grpc_whole", "grpc_stream"):
        outcome = callers[way](server, BASE | {name: spelled})
        assert (outcome.code, outcome.field) == ("invalid_value", name)


def test_a_stop_string_ends_the_text_before_it(server: Server, callers: Callers) -> None:
    """H75: every substring of a text, made a stop string, cuts it at its first occurrence."""
    body = BASE | {"max_tokens": 60, "temperature": 0.7}
    whole = callers["rest_whole"](server, body)
    for start in range(3, 20, 4):
        stop = whole.text[start : start + 3]
        for name, call in callers.items():
            outcome = call(server, body | {"stop": [stop, "never comes"]})
            assert outcome.text == whole.text[: whole.text.index(stop)], name
            assert outcome.finish_reason == "stop"
            assert outcome.token_ids == whole.token_ids[: len(outcome.token_ids)]
            assert outcome.usage["completion_tokens"] == len(outcome.token_ids)


def test_a_prompt_of_the_whole_context_gets_one_token(server: Server, callers: Callers) -> None:
    """H23: the last token made is never read again, so it needs no room."""
    for size, expected in ((4095, 2), (4096, 1)):
        outcome = callers["rest_whole"](server, {"prompt": "x" * size})
        assert outcome.usage["prompt_tokens"] == size
        assert outcome.parameters["max_tokens"] == expected
    assert callers["grpc_whole"](server, BASE).code is None
