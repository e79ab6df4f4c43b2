"""Choices, logprobs and echo on /v1/completions, as evaluation harnesses read them."""

import math
from typing import Any

import pytest
from openai import OpenAI

from tests.contract.live_server import START_SECONDS, Server

PATH = "/v1/completions"
BASE: dict[str, object] = {"prompt": "Once upon", "max_tokens": 8, "seed": 7, "ignore_eos": True}


def complete(server: Server, **changes: object) -> dict[str, Any]:
    response = server.post(PATH, BASE | changes)
    assert response.status_code == 200, response.text
    return response.json()


def native(server: Server, **changes: object) -> dict[str, Any]:
    response = server.post("/v1/generate", BASE | {"temperature": 1, "top_k": 0} | changes)
    assert response.status_code == 200, response.text
    return response.json()


def test_choices_come_in_the_order_of_prompts_and_then_of_n(server: Server) -> None:
    """H21; interfaces 1: the first of each prompt is what the prompt alone gives."""
    prompts = ["Once upon", "The wolf"]
    answer = complete(server, prompt=prompts, n=3, temperature=5)
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    texts = [choice["text"] for choice in answer["choices"]]
    assert len(set(texts)) == 6
    for number, prompt in enumerate(prompts):
        alone = complete(server, prompt=prompt, temperature=5)["choices"][0]["text"]
        assert texts[3 * number] == alone
    assert answer["usage"] == {"prompt_tokens": 17, "completion_tokens": 48, "total_tokens": 65}


def test_logprobs_are_four_lists_of_one_length(server: Server) -> None:
    """Interfaces 15: and the same figures as the native answer's."""
    (choice,) = complete(server, logprobs=3)["choices"]
    (expected,) = native(server, logprobs=3)["choices"]
    logprobs = choice["logprobs"]
    assert {name: len(values) for name, values in logprobs.items()} == dict.fromkeys(
        ("tokens", "token_logprobs", "top_logprobs", "text_offset"), 8
    )
    assert choice["text"] == expected["text"]
    assert logprobs["token_logprobs"] == [each["logprob"] for each in expected["logprobs"]]
    for token, logprob, top, report in zip(
        logprobs["tokens"],
        logprobs["token_logprobs"],
        logprobs["top_logprobs"],
        expected["logprobs"],
        strict=True,
    ):
        assert top[token] == logprob <= 0
        assert len(top) in (3, 4)
        assert max(top.values()) == report["top"][0]["logprob"]
        assert (logprob == max(top.values())) is (report["rank"] == 1)
        spelled = bytes(report["bytes"])
        assert token == (spelled.decode() if spelled.isascii() else f"bytes:\\x{spelled.hex()}")


def test_offsets_point_at_the_tokens_text_also_inside_characters(server: Server) -> None:
    prompt = "a\u00e9\U0001f600b"
    (choice,) = complete(server, prompt=prompt, echo=True, logprobs=0, max_tokens=0)["choices"]
    assert choice["text"] == prompt
    logprobs = choice["logprobs"]
    assert logprobs["text_offset"] == [0, 1, 1, 2, 2, 2, 2, 3]
    assert logprobs["tokens"][0::7] == ["a", "b"]
    assert logprobs["tokens"][1:3] == ["bytes:\\xc3", "bytes:\\xa9"]


def test_a_harness_scores_a_text_without_making_any(server: Server) -> None:
    """Interfaces 19: max_tokens 0 with echo, null for the first token, greedy told apart."""
    for max_tokens in (0, 1):
        (choice,) = complete(server, echo=True, logprobs=1, max_tokens=max_tokens, temperature=0)[
            "choices"
        ]
        logprobs = choice["logprobs"]
        assert len(logprobs["tokens"]) == 9 + max_tokens
        assert choice["text"].startswith("Once upon")
        assert "".join(logprobs["tokens"][:9]) == "Once upon"
        assert (logprobs["token_logprobs"][0], logprobs["top_logprobs"][0]) == (None, None)
        assert all(math.isfinite(each) for each in logprobs["token_logprobs"][1:])
        assert choice["finish_reason"] == "length"
        if max_tokens:
            # What temperature 0 chose is the likeliest.
            assert logprobs["token_logprobs"][-1] == max(logprobs["top_logprobs"][-1].values())


def test_logprobs_of_a_prompt_are_those_of_the_text_that_was_made(server: Server) -> None:
    """The same positions, once made and once read."""
    (letter,) = server.post("/v1/tokenize", {"text": "a"}).json()["tokens"]
    only_a = {str(letter["id"]): 100}
    (made,) = complete(server, logprobs=0, prompt=[5, 6, 7], logit_bias=only_a)["choices"]
    assert made["text"] == "a" * 8
    read = complete(
        server, echo=True, logprobs=0, max_tokens=0, prompt=[5, 6, 7, *[letter["id"]] * 8]
    )
    (choice,) = read["choices"]
    assert choice["logprobs"]["token_logprobs"][3:] == pytest.approx(
        made["logprobs"]["token_logprobs"], abs=1e-4
    )
    assert read["usage"] == {"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11}


def test_a_batch_of_scores_comes_back_in_order(server: Server) -> None:
    """Interfaces 19: list-of-ids prompts of different lengths."""
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    choices = complete(server, prompt=prompts, echo=True, logprobs=1, max_tokens=0)["choices"]
    assert [len(choice["logprobs"]["tokens"]) for choice in choices] == [3, 2, 4]


def test_chunks_carry_the_same_logprobs(server: Server) -> None:
    """Also the prompt's, with offsets that go on from chunk to chunk."""
    changes: dict[str, Any] = {"prompt": "Once upon \u00e9", "echo": True, "logprobs": 2, "n": 2}
    whole = complete(server, **changes)["choices"]
    found: list[dict[str, list[object]]] = [{}, {}]
    texts = ["", ""]
    with OpenAI(base_url=server.rest + "/v1", api_key="none", timeout=START_SECONDS) as client:
        for chunk in client.completions.create(
            model="tiny", stream=True, extra_body=BASE | changes, prompt=""
        ):
            (choice,) = chunk.choices
            texts[choice.index] += choice.text
            if choice.logprobs is not None:
                for name, values in choice.logprobs.model_dump().items():
                    found[choice.index].setdefault(name, []).extend(values)
    assert texts == [choice["text"] for choice in whole]
    assert found == [choice["logprobs"] for choice in whole]


def test_logprobs_are_bounded_and_have_no_magic_values(server: Server) -> None:
    """H26; and max_tokens 0 needs echo (H36)."""
    for logprobs in (-1, 21, 10**9, True, 1.0):
        response = server.post(PATH, BASE | {"logprobs": logprobs})
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "logprobs"), logprobs
    response = server.post(PATH, BASE | {"max_tokens": 0})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "max_tokens")


@pytest.mark.parametrize("is_streamed", [False, True])
def test_reports_of_all_prompts_together_are_bounded(server: Server, *, is_streamed: bool) -> None:
    """H26: each prompt alone is far below what one answer may report."""
    body = {"max_tokens": 110, "logprobs": 20, "n": 10, "prompt": ["x"] * 12}
    response = server.post(PATH, BASE | body | {"stream": is_streamed})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "logprobs"), error
    assert "at most 262144" in error["message"]
    answer = complete(server, **body | {"max_tokens": 1, "n": 1})
    assert [len(choice["logprobs"]["tokens"]) for choice in answer["choices"]] == [1] * 12
