"""What the glass box refuses: one verdict over both protocols, naming field, limit and value."""

import base64
import math
from array import array
from typing import Any, cast

import pytest

from tests.contract.glass_box_callers import CALLS, Refusal, ask_grpc, ask_rest
from tests.contract.live_server import Server

NGRAM = "tiny:ngram"
VOCABULARY = 257

BAD: dict[str, tuple[str, dict[str, Any], str, str | None]] = {
    "no text": ("inspect", {"text": None}, "invalid_value", "text"),
    "one token": ("inspect", {"text": "a"}, "invalid_value", "text"),
    "one id": ("inspect", {"text": None, "ids": [5]}, "invalid_value", "ids"),
    "id beyond": ("inspect", {"text": None, "ids": [5, 257]}, "invalid_value", "ids"),
    "too long": ("inspect", {"text": "x" * 4097}, "context_length_exceeded", "text"),
    "half a megabyte": ("inspect", {"text": "x" * 2**19}, "context_length_exceeded", "text"),
    "start 0": ("inspect", {"start": 0}, "invalid_value", "start"),
    "start beyond": ("inspect", {"start": 7}, "invalid_value", "start"),
    "end before start": ("inspect", {"start": 4, "end": 4}, "invalid_value", "end"),
    "end beyond": ("inspect", {"end": 8}, "invalid_value", "end"),
    "prompt beyond": ("inspect", {"num_prompt_tokens": 8}, "invalid_value", "num_prompt_tokens"),
    "choice 128": ("inspect", {"choice_index": 128}, "invalid_value", "choice_index"),
    "no candidates": (
        "inspect",
        {"inspect": {"candidates": 0}},
        "invalid_value",
        "inspect.candidates",
    ),
    "too many candidates": (
        "inspect",
        {"inspect": {"candidates": 1001}},
        "invalid_value",
        "inspect.candidates",
    ),
    "too many logits": (
        "inspect",
        {"text": "x" * 1200, "inspect": {"candidates": 1, "logits": True}},
        "invalid_value",
        "inspect.logits",
    ),
    "too many candidates together": (
        "inspect",
        {"text": "x" * 500, "inspect": {"candidates": 300}},
        "invalid_value",
        "inspect.candidates",
    ),
    "hot": ("inspect", {"temperature": 101.0}, "invalid_value", "temperature"),
    "no choice": ("inspect", {"max_tokens": 3}, "unsupported_parameter", "max_tokens"),
    "unknown model": ("inspect", {"model": "nobody"}, "model_not_found", "model"),
    "no time": ("inspect", {"timeout_seconds": 0.0}, "invalid_value", "timeout_seconds"),
    "too late": ("inspect", {"timeout_seconds": 1e-9}, "deadline_exceeded", None),
    "no logits": ("resample", {"logits": ""}, "invalid_value", "logits"),
    "NaN": (
        "resample",
        {"logits": base64.b64encode(array("f", [math.nan] * 257)).decode()},
        "invalid_value",
        "logits",
    ),
    "infinite": (
        "resample",
        {"logits": base64.b64encode(array("f", [math.inf] + [0.0] * 256)).decode()},
        "invalid_value",
        "logits",
    ),
    "none that can come": (
        "resample",
        {"logits": base64.b64encode(array("f", [-math.inf] * 257)).decode()},
        "invalid_value",
        "logits",
    ),
    "no parameters": ("resample", {"parameters": []}, "invalid_value", "parameters"),
    "17 ways": ("resample", {"parameters": [{}] * 17}, "invalid_value", "parameters"),
    "a way of no choice": (
        "resample",
        {"parameters": [{}, {"n": 2}]},
        "unsupported_parameter",
        "parameters[1].n",
    ),
    "a way too hot": (
        "resample",
        {"parameters": [{}, {}, {"temperature": 101.0}]},
        "invalid_value",
        "parameters[2].temperature",
    ),
    "nothing before": ("resample", {"ids": []}, "invalid_value", "ids"),
    "layer 2": ("attention", {"layers": [2]}, "invalid_value", "layers"),
    "head twice": ("attention", {"heads": [1, 1]}, "invalid_value", "heads"),
    "attention end": ("attention", {"end": 8}, "invalid_value", "end"),
    "too much attention": ("attention", {"text": "x" * 200}, "invalid_value", "end"),
    "attention of n-grams": ("attention", {"model": NGRAM}, "invalid_value", "model"),
    "two tokens": ("embedding", {"text": "ab"}, "invalid_value", "text"),
    "no token": ("embedding", {"text": None}, "invalid_value", "id"),
    "token beyond": ("embedding", {"text": None, "id": 257}, "invalid_value", "id"),
    "101 neighbours": ("embedding", {"neighbours": 101}, "invalid_value", "neighbours"),
    "vector of n-grams": ("embedding", {"model": NGRAM}, "invalid_value", "model"),
    "pooled n-grams": ("embed_text", {"model": NGRAM}, "invalid_value", "model"),
    "nothing to score": ("score", {"text": ""}, "invalid_value", "text"),
    "score of nobody": ("score", {"model": "nobody:ngram"}, "model_not_found", "model"),
}
BASES: dict[str, dict[str, Any]] = {
    "resample": {
        "logits": base64.b64encode(array("f", [0.0] * VOCABULARY)).decode(),
        "ids": [5],
        "parameters": [{}],
    },
    "embedding": {"text": "a"},
}


@pytest.mark.parametrize(("name", "change", "code", "field"), BAD.values(), ids=list(BAD))
def test_bad_values_have_one_verdict(
    server: Server, name: str, change: dict[str, Any], code: str, field: str | None
) -> None:
    """H133; positions out of range, too long a span, a model without what is asked."""
    body = BASES.get(name, {"text": "the cat"}) | change
    body = {name: value for name, value in body.items() if value is not None}
    refusals = [ask_rest(server, name, body), ask_grpc(server, name, body)]
    assert all(isinstance(each, Refusal) for each in refusals)
    rest, grpc = cast("list[Refusal]", refusals)
    assert (rest.code, rest.field) == (code, field)
    assert rest.message.startswith(field or "")
    assert grpc == rest


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "ab", "ids": [5, 6]}, "text"),
        ({"text": "ab", "inspect": 5}, "inspect"),
        ({"text": "ab", "inspect": {"candidate": 5}}, "inspect"),
        ({"text": "ab", "inspect": {"candidates": "5"}}, "candidates"),
        ({"text": "ab", "begin": 1}, "begin"),
        ({"text": "ab", "start": 1.0}, "start"),
    ],
)
def test_rest_names_what_only_rest_can_get_wrong(
    server: Server, body: dict[str, Any], field: str
) -> None:
    refusal = ask_rest(server, "inspect", body)
    assert isinstance(refusal, Refusal)
    assert refusal.field == field


def test_what_is_no_base64_or_no_list_of_sets_is_refused(server: Server) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"logits": "!"}, "logits"),
        ({"parameters": 5}, "parameters"),
        ({"parameters": [5]}, "parameters[0]"),
        ({"parameters": [{}, {"top_k": "5"}]}, "parameters[1].top_k"),
        ({"parameters": [{}, {"top": 5}]}, "parameters[1].top"),
    ]
    for change, field in changes:
        refusal = ask_rest(server, "resample", BASES["resample"] | change)
        assert isinstance(refusal, Refusal)
        assert refusal.field == field


def test_a_megabyte_is_refused_before_it_is_read(server: Server) -> None:
    for name in CALLS:
        refusal = ask_rest(server, name, {"text": "x" * 2**20})
        assert isinstance(refusal, Refusal)
        assert refusal.code == "request_too_large"
