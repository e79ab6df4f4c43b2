"""The wire of /v1/completions: what bodies may hold, and what comes back."""

import json
from typing import Any

import httpx2
import pytest

from tests.contract.live_server import START_SECONDS, Server

PATH = "/v1/completions"
BASE: dict[str, object] = {"prompt": "Once upon a time", "max_tokens": 8, "seed": 7}


def complete(server: Server, **changes: object) -> dict[str, Any]:
    response = server.post(PATH, BASE | changes)
    assert response.status_code == 200, response.text
    return response.json()


def events(server: Server, **changes: object) -> list[dict[str, Any]]:
    with httpx2.stream(
        "POST",
        server.rest + PATH,
        json=BASE | {"stream": True} | changes,
        timeout=START_SECONDS,
        verify=False,
    ) as response:
        text = response.read().decode()
    assert response.headers["content-type"].startswith("text/event-stream")
    *found, end, nothing = text.split("\n\n")
    assert (end, nothing) == ("data: [DONE]", "")
    assert all(event.count("\n") == 0 for event in found)
    return [json.loads(event.removeprefix("data: ")) for event in found]


def refusal(server: Server, **changes: object) -> tuple[int, str, str]:
    response = server.post(PATH, BASE | changes)
    error = response.json()["error"]
    assert error["message"]
    return response.status_code, error["code"], error["param"]


def ids_of(server: Server, text: str) -> list[int]:
    return [token["id"] for token in server.post("/v1/tokenize", {"text": text}).json()["tokens"]]


def test_a_prompt_may_be_a_text_ids_or_lists_of_both(server: Server) -> None:
    """Interfaces 1: the same texts, whatever their form."""
    texts = ["Once upon a time", "The wolf"]
    alone = [complete(server, prompt=text)["choices"][0]["text"] for text in texts]
    assert alone[0] != alone[1]
    ids = [ids_of(server, text) for text in texts]
    for prompt, expected in (
        (texts, alone),
        (texts[:1], alone[:1]),
        (ids, alone),
        (ids[1], alone[1:]),
    ):
        choices = complete(server, prompt=prompt)["choices"]
        assert [choice["text"] for choice in choices] == expected
        assert [choice["index"] for choice in choices] == list(range(len(expected)))


def test_the_chunks_of_a_batch_make_up_its_texts(server: Server) -> None:
    prompts = ["Once upon a time", "The wolf", "x"]
    whole = complete(server, prompt=prompts, max_tokens=20)
    texts = ["", "", ""]
    reasons: list[tuple[int, str]] = []
    for event in events(server, prompt=prompts, max_tokens=20):
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["text"]
        if choice["finish_reason"] is not None:
            reasons.append((choice["index"], choice["finish_reason"]))
    assert texts == [choice["text"] for choice in whole["choices"]]
    assert sorted(reasons) == [
        (choice["index"], choice["finish_reason"]) for choice in whole["choices"]
    ]


def test_one_call_makes_at_most_128_continuations(server: Server) -> None:
    """H21: prompts, n, and their product, refused before anything is computed."""
    for changes, field in (
        ({"prompt": ["x"] * 129}, "prompt"),
        ({"prompt": [[1]] * 129}, "prompt"),
        ({"n": 129}, "n"),
        ({"prompt": ["x"] * 65, "n": 2}, "n"),
        ({"n": 2**62, "prompt": ["x"] * 3}, "n"),
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
    ):
        assert refusal(server, **changes) == (400, "invalid_value", field), changes


@pytest.mark.parametrize("n", [None, 1])
def test_best_of_is_offered_only_equal_to_n(server: Server, n: int | None) -> None:
    """H21."""
    assert complete(server, n=n, best_of=1) != {}
    assert refusal(server, n=n, best_of=2) == (400, "unsupported_parameter", "best_of")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("response_format", {"type": "json_object"}),
        ("regex", "a+"),
        ("guided_regex", "a+"),
        ("grammar", "root ::= x"),
        ("structured_outputs", {"regex": "a"}),
        ("suffix", "the end"),
        ("image_url", "http://127.0.0.1:1/x.png"),
        ("logits_processors", ["os.system"]),
        ("use_beam_search", True),
        ("length_penalty", 2.0),
        ("skip_special_tokens", False),
        ("messages", [{"role": "user", "content": "x"}]),
        ("max_completion_tokens", 5),
    ],
)
def test_what_would_change_the_text_and_is_not_offered_is_refused_by_name(
    server: Server, name: str, value: object
) -> None:
    """H33; interfaces 1, 17."""
    assert refusal(server, **{name: value}) == (400, "unsupported_parameter", name)


def test_what_asks_for_what_is_done_anyway_is_served(server: Server) -> None:
    plain = complete(server)
    harmless: dict[str, object] = {"suffix": None, "tools": None, "use_beam_search": False}
    harmless |= {"skip_special_tokens": True, "length_penalty": 1, "stop": None, "logprobs": None}
    assert complete(server, **harmless)["choices"] == plain["choices"]
    assert refusal(server, use_beam_search=0)[2] == "use_beam_search"


def test_unknown_fields_are_served_and_named_in_a_bounded_header(server: Server) -> None:
    """H34: also on a stream, and nothing a client sends can break the header."""
    body = BASE | {"max_token": 3, "a,b\r\nx: y": 1, "\u00fc": 2, "z" * 500: 3}
    body |= {"stream_options": {"include_obfuscation": False}, "stream": True}
    response = server.post(PATH, body)
    assert response.status_code == 200
    assert response.headers["x-ignored-parameters"] == ", ".join(
        (
            *("max_token", "a%2Cb%0D%0Ax%3A%20y", "%C3%BC", "z" * 64),
            "stream_options.include_obfuscation",
        )
    )
    assert "x" not in response.headers
    many = server.post(PATH, BASE | {f"field{index}": 1 for index in range(200)})
    assert many.headers["x-ignored-parameters"].endswith(", ...")
    assert len(many.headers["x-ignored-parameters"]) < 1000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", 5),
        ("prompt", True),
        ("prompt", {}),
        ("prompt", []),
        ("prompt", ""),
        ("prompt", ["x", 5]),
        ("prompt", ["x", ""]),
        ("prompt", [1, "x"]),
        ("prompt", [1, True]),
        ("prompt", [1.0]),
        ("prompt", [[1], 2]),
        ("prompt", [[1], []]),
        ("prompt", [[1, None]]),
        ("prompt", [-1]),
        ("prompt", [257]),
        ("prompt", [[1], [2**63]]),
        ("max_tokens", "5"),
        ("max_tokens", 5.0),
        ("max_tokens", True),
        ("max_tokens", -1),
        ("temperature", "hot"),
        ("stream", "yes"),
        ("stream_options", {"include_usage": True}),
        ("stop", 5),
        ("stop", ["a", None]),
        ("stop", ["a"] * 5),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"257": 1}),
        ("logit_bias", {"5": 101}),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", 1.5),
        ("user", 5),
        ("best_of", "2"),
        ("model", 5),
        ("top_k", -2),
        ("min_p", 1.5),
        ("stop_token_ids", [257]),
    ],
)
def test_bad_values_name_their_field(server: Server, name: str, value: object) -> None:
    """H20, H27, H28, H35 to H38, H44; interfaces 7."""
    assert refusal(server, **{name: value}) == (400, "invalid_value", name)


def test_the_types_of_stream_options_are_strict(server: Server) -> None:
    for options in ({"include_usage": 1}, {"continuous_usage_stats": "yes"}):
        (name,) = options
        assert refusal(server, stream=True, stream_options=options)[2] == name
    assert refusal(server, stream=True, stream_options=[])[2] == "stream_options"


def test_a_prompt_must_be_given(server: Server) -> None:
    """H37."""
    for body in ({"max_tokens": 5}, {"prompt": None}):
        response = server.post(PATH, body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")


def test_one_bad_prompt_of_a_batch_is_a_real_status(server: Server) -> None:
    """H72: nothing of the good ones is sent before."""
    for prompt in (["x", "y" * 5000], [[1], [257]], ["x", "y" * 5000, "z"]):
        response = server.post(PATH, BASE | {"prompt": prompt, "stream": True})
        assert response.status_code == 400, prompt
        assert response.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize("at_end", [True, False])
def test_usage_so_far_comes_with_every_chunk_when_asked_for(server: Server, at_end: bool) -> None:
    """Interfaces 63."""
    options = {"include_usage": at_end, "continuous_usage_stats": True}
    found = events(server, prompt=["x", "yz"], stream_options=options, ignore_eos=True)
    usages = [event["usage"] for event in found]
    counts = [usage["completion_tokens"] for usage in usages]
    assert counts == sorted(counts)
    assert usages[-1] == {"prompt_tokens": 3, "completion_tokens": 16, "total_tokens": 19}
    assert (found[-1]["choices"] == []) is at_end


def test_vllms_keys_are_honoured(server: Server) -> None:
    """Interfaces 2, 63: each changes the text as it says."""
    free = complete(server, temperature=3, max_tokens=40, ignore_eos=True)["choices"][0]
    assert len(set(free["text"])) > 5
    greedy = complete(server, temperature=0, max_tokens=40, ignore_eos=True)["choices"][0]["text"]
    for narrow in ({"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-9}):
        options: dict[str, object] = {"temperature": 3, "max_tokens": 40, "ignore_eos": True}
        assert complete(server, **options | narrow)["choices"][0]["text"] == greedy, narrow
    exact = complete(server, ignore_eos=True, max_tokens=77)
    assert exact["usage"]["completion_tokens"] == 77
    ids = list(range(257))
    assert complete(server, stop_token_ids=ids[:64], logit_bias={"5": 100})["choices"][0] == {
        "index": 0,
        "text": "",
        "logprobs": None,
        "finish_reason": "stop",
    }
    late = complete(server, stop_token_ids=[5], logit_bias={"5": 100}, min_tokens=3)
    assert late["usage"]["completion_tokens"] == 3


def test_prompts_that_can_never_be_taken_on_together_are_not_to_be_tried_again(
    server: Server,
) -> None:
    """H21, H94: four run and eight wait at most; a thirteenth has no place in an idle server."""
    assert len(complete(server, prompt=["x"] * 12, max_tokens=1)["choices"]) == 12
    response = server.post(PATH, BASE | {"prompt": ["x"] * 13, "max_tokens": 1})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "prompt")
    assert "12" in error["message"]
    assert "13" in error["message"]
