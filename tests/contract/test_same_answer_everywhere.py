"""One body, four ways to send it: the same text, tokens, verdicts and parameters."""

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
    "n-gram model": {"model": "tiny:ngram"},
    "n-gram model of a version": {"model": "tiny:ngram@1", "echo": True, "logprobs": 2, "n": 3},
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
