"""The glass box over both protocols: the same answers, the same refusals, whatever is asked."""

import base64
import math
from array import array
from typing import Any

import httpx2
import pytest

from tests.contract.callers import Callers
from tests.contract.glass_box_callers import Refusal, ask_grpc, ask_rest
from tests.contract.live_server import Server

NGRAM = "tiny:ngram"
STAGES = ["model", "penalties", "bias", "temperature", "top_k", "top_p", "min_p"]
VOCABULARY = 257

# The tiny model has two layers of four heads, ids 0 to 256 and a token for each byte.
VALID: dict[str, tuple[str, dict[str, Any]]] = {
    "inspect": ("inspect", {"text": "the cat", "seed": 1}),
    "inspect a span": (
        "inspect",
        {
            "ids": [80, 81, 82, 83],
            "start": 2,
            "end": 3,
            "inspect": {"candidates": 257, "logits": True},
            "num_prompt_tokens": 1,
            "choice_index": 3,
            "seed": 2**64 - 1,
            "temperature": 0.5,
            "top_k": 9,
            "top_p": 0.9,
            "min_p": 0.01,
            "repetition_penalty": 1.5,
            "presence_penalty": 1.0,
            "frequency_penalty": 0.5,
            "logit_bias": {"66": 5.0},
            "min_tokens": 5,
            "stop_token_ids": [70],
            "ignore_eos": False,
        },
    ),
    "inspect greedy": ("inspect", {"text": "ab", "temperature": 0, "seed": 1}),
    "inspect half a character": ("inspect", {"ids": [240, 159, 160], "seed": 1}),
    "inspect n-grams": ("inspect", {"model": NGRAM, "text": "the cat sat", "seed": 1}),
    "inspect a control token": (
        "inspect",
        {"text": "a<|endoftext|>b", "parse_special_tokens": True, "seed": 1},
    ),
    "resample what can hardly come": (
        "resample",
        {
            "logits": base64.b64encode(array("f", [0.5] * 9 + [-math.inf] * 248)).decode(),
            "ids": [5],
            "parameters": [{"seed": 1}, {"seed": 1, "repetition_penalty": 2.0}],
            "inspect": {"candidates": 20},
        },
    ),
    "attention": ("attention", {"text": "the cat"}),
    "attention of a head": (
        "attention",
        {"ids": [5, 6, 7, 8], "layers": [1], "heads": [3, 0], "start": 2, "end": 4},
    ),
    "embedding": ("embedding", {"id": 66}),
    "embedding of a text": ("embedding", {"text": "a", "neighbours": 100}),
    "embed a text": ("embed_text", {"text": "the cat sat on the mat"}),
    "score": ("score", {"text": "the cat sat on the mat"}),
    "score by n-grams": ("score", {"ids": [5, 6, 7], "model": NGRAM, "token_surprises": True}),
    "score side by side": (
        "score",
        {"text": "caf\u00e9", "side_by_side": True, "token_surprises": True},
    ),
}


def ask_both(server: Server, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer that both protocols give."""
    rest, grpc = ask_rest(server, name, body), ask_grpc(server, name, body)
    assert not isinstance(rest, Refusal), rest
    assert grpc == rest
    return rest


@pytest.mark.parametrize(("name", "body"), VALID.values(), ids=list(VALID))
def test_both_protocols_give_the_same_answer(
    server: Server, name: str, body: dict[str, Any]
) -> None:
    answer = ask_both(server, name, body)
    assert answer == ask_both(server, name, body)


def test_generating_with_inspect_tells_every_token_in_all_ways(
    server: Server, callers: Callers
) -> None:
    body = {
        "prompt": "the cat",
        "max_tokens": 6,
        "seed": 3,
        "n": 2,
        "top_k": 20,
        "ignore_eos": True,
        "inspect": {"candidates": 4, "logits": True},
    }
    choices = [call(server, body).choices for call in callers.values()]
    assert choices[1:] == choices[:-1]
    for choice in choices[0]:
        assert [each["token"]["id"] for each in choice.inspections] == choice.token_ids
        assert [each["position"] for each in choice.inspections] == list(range(7, 13))
        for each in choice.inspections:
            check_inspection(each)
            assert each["drawn_token"] == each["token"]
            assert len(base64.b64decode(each["logits"])) == 4 * VOCABULARY
    plain = {name: value for name, value in body.items() if name != "inspect"}
    assert [choice.token_ids for choice in callers["rest_whole"](server, plain).choices] == [
        choice.token_ids for choice in choices[0]
    ]


def test_the_token_that_ends_a_text_is_told_as_well(server: Server, callers: Callers) -> None:
    body = {"prompt": "ab", "logit_bias": {"0": 100.0}, "inspect": {}, "seed": 1}
    for call in callers.values():
        (choice,) = call(server, body).choices
        assert choice.token_ids == []
        (ending,) = choice.inspections
        assert (ending["token"]["id"], ending["ends_text"]) == (0, True)
        check_inspection(ending)


def check_inspection(inspection: dict[str, Any]) -> None:
    """Interfaces 68."""
    assert [stage["stage"] for stage in inspection["stages"]] == STAGES
    for index, stage in enumerate(inspection["stages"]):
        listed = sum(each["probabilities"][index] for each in inspection["candidates"])
        assert listed + stage["other_probability"] == pytest.approx(1, abs=1e-6)
    assert inspection["random_number"] == inspection["random_word"] / 2**32
    drawn = inspection["drawn_token"]
    (place,) = [each for each in inspection["candidates"] if each["token"] == drawn]
    assert place["removed_by"] is None
    assert place["line_start"] <= inspection["random_number"] < place["line_end"]


def test_a_text_is_told_token_by_token(server: Server) -> None:
    text = "a\u00e9\0<b>\u202e\U0001f600"
    answer = ask_both(server, "inspect", {"text": text, "seed": 1, "inspect": {"candidates": 5}})
    tokens, data = answer["tokens"], text.encode()
    assert b"".join(bytes(each["token"]["bytes"]) for each in tokens) == data
    for each in tokens:
        assert data[each["byte_start"] : each["byte_end"]] == bytes(each["token"]["bytes"])
    assert [each["token"]["text"] for each in tokens[:3]] == ["a", "\\xC3", "\\xA9"]
    inspections = answer["inspections"]
    assert [each["position"] for each in inspections] == list(range(1, len(tokens)))
    for each, token in zip(inspections, tokens[1:], strict=True):
        check_inspection(each)
        placed = ("token", "byte_start", "byte_end")
        assert {name: each[name] for name in placed} == token


def test_resampling_is_what_generating_would_have_given(server: Server, callers: Callers) -> None:
    """What if: the same position under other parameters, from the logits that it had."""
    body = {"prompt": "the cat", "max_tokens": 1, "seed": 5}
    usual = {**body, "inspect": {"candidates": 257, "logits": True}}
    (choice,) = callers["rest_whole"](server, usual).choices
    (inspection,) = choice.inspections
    sets = [
        {"seed": 5},
        {"seed": 5, "temperature": 0},
        {"seed": 6, "temperature": 3.0, "top_k": 0},
        {"seed": 7, "top_p": 0.3, "min_p": 0.1, "logit_bias": {"66": 9.0}},
    ]
    ids = [
        token["id"] for token in server.post("/v1/tokenize", {"text": "the cat"}).json()["tokens"]
    ]
    question = {
        "logits": inspection["logits"],
        "ids": ids,
        "parameters": sets,
        "inspect": usual["inspect"],
    }
    answer = ask_both(server, "resample", question)
    assert answer["inspections"][0] == inspection
    for parameters, resampled in zip(sets, answer["inspections"], strict=True):
        (made,) = callers["rest_whole"](server, usual | parameters).choices
        assert made.inspections == [resampled]


def test_resampling_within_a_text_is_told_which_text_it_was(
    server: Server, callers: Callers
) -> None:
    """The third token of the second choice, with all that looks at the continuation."""
    parameters = {"seed": 5, "presence_penalty": 9.0, "min_tokens": 2, "temperature": 3.0}
    usual = {"candidates": 257, "logits": True}
    body = {"prompt_ids": [5, 6], "max_tokens": 3, "n": 2, "inspect": usual, **parameters}
    choice = callers["rest_whole"](server, body).choices[1]
    question = {
        "logits": choice.inspections[2]["logits"],
        "ids": [5, 6, *choice.token_ids[:2]],
        "num_prompt_tokens": 2,
        "choice_index": 1,
        "parameters": [parameters],
        "inspect": usual,
    }
    (told,) = ask_both(server, "resample", question)["inspections"]
    assert told == choice.inspections[2]
    for left_out in ("num_prompt_tokens", "choice_index"):
        less = {name: value for name, value in question.items() if name != left_out}
        (other,) = ask_both(server, "resample", less)["inspections"]
        assert other != told


def test_attention_is_a_distribution_over_what_came_before(server: Server) -> None:
    answer = ask_both(server, "attention", {"text": "the cat", "start": 3})
    assert (answer["num_layers"], answer["num_heads"]) == (2, 4)
    heads = [(each["layer"], each["head"]) for each in answer["maps"]]
    assert heads == [(layer, head) for layer in range(2) for head in range(4)]
    for each in answer["maps"]:
        assert [len(row) for row in each["rows"]] == [4, 5, 6, 7]
        assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in each["rows"])


def test_a_client_that_leaves_ends_its_question(server: Server) -> None:
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(
            server.rest + "/v1/inspect",
            json={"text": "x" * 3000, "inspect": {"candidates": 10}},
            timeout=0.05,
            verify=False,
        )
    ask_both(server, "inspect", {"text": "ab", "seed": 1})
