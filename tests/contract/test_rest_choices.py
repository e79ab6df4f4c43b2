"""Choices, logprobs and echo on the native route, whole and as events."""

import json
from typing import Any

import httpx2

from tests.contract.live_server import START_SECONDS, Server

BASE: dict[str, object] = {"prompt": "Once upon", "max_tokens": 6, "seed": 7, "ignore_eos": True}
OF_THE_LAST_EVENT = {
    *("id", "model", "model_version", "system_fingerprint", "usage", "parameters", "timings"),
}


def whole(server: Server, **changes: object) -> dict[str, Any]:
    response = server.post("/v1/generate", BASE | changes)
    assert response.status_code == 200, response.text
    return response.json()


def events(server: Server, **changes: object) -> list[dict[str, Any]]:
    with httpx2.stream(
        "POST",
        server.rest + "/v1/generate",
        json=BASE | {"stream": True} | changes,
        timeout=START_SECONDS,
        verify=False,
    ) as response:
        text = response.read().decode()
    *found, end, nothing = text.split("\n\n")
    assert (end, nothing) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in found]


def test_the_events_of_choices_make_up_the_whole_answer(server: Server) -> None:
    """H76: one finish reason for each choice, one usage for the request, on its last event."""
    changes: dict[str, object] = {"n": 3, "logprobs": 2, "echo": True, "temperature": 3}
    answer, found = whole(server, **changes), events(server, **changes)
    put_together: dict[int, dict[str, Any]] = {}
    for event in found:
        choice = put_together.setdefault(
            event["index"], {"index": event["index"], "text": "", "token_ids": [], "logprobs": []}
        )
        assert "finish_reason" not in choice, "an event after a choice's last"
        choice["text"] += event["text"]
        choice["token_ids"] += event["token_ids"]
        choice["logprobs"] += event["logprobs"]
        if "finish_reason" in event:
            choice["finish_reason"] = event["finish_reason"]
    assert [put_together[index] for index in sorted(put_together)] == answer["choices"]
    assert set(found[-1]) >= OF_THE_LAST_EVENT
    assert not any(OF_THE_LAST_EVENT & set(event) for event in found[:-1])
    assert found[-1]["usage"] == answer["usage"]
    assert answer["usage"] == {"prompt_tokens": 9, "completion_tokens": 18, "total_tokens": 27}


def test_the_prompt_comes_first_of_each_choice_and_is_marked(server: Server) -> None:
    found = events(server, n=2, echo=True)
    for index in (0, 1):
        own = [event for event in found if event["index"] == index]
        marks = [event.get("is_prompt", False) for event in own]
        assert marks == sorted(marks, reverse=True)
        assert "".join(event["text"] for event in own if event.get("is_prompt")) == "Once upon"
    assert not any("is_prompt" in event for event in events(server))


def test_reports_stand_beside_their_tokens(server: Server) -> None:
    """Interfaces 68 in part; H52: finite, in order, and the likeliest has rank 1."""
    (choice,) = whole(server, logprobs=5)["choices"]
    assert [report["id"] for report in choice["logprobs"]] == choice["token_ids"]
    for report in choice["logprobs"]:
        logprobs = [rival["logprob"] for rival in report["top"]]
        assert len(logprobs) == 5
        assert logprobs == sorted(logprobs, reverse=True)
        assert -9999 <= report["logprob"] <= logprobs[0] <= 0
        assert (report["rank"] == 1) is (report["id"] == report["top"][0]["id"])
        if report["rank"] <= 5:
            assert report["top"][report["rank"] - 1]["id"] == report["id"]
    assert "logprobs" not in whole(server)["choices"][0]
    (alone,) = whole(server, logprobs=0)["choices"]
    assert [report["top"] for report in alone["logprobs"]] == [[]] * 6


def test_each_choice_has_random_numbers_of_its_own(server: Server) -> None:
    """H53: and the first is what one choice alone gives."""
    many = [choice["text"] for choice in whole(server, n=5, temperature=5)["choices"]]
    assert len(set(many)) == 5
    assert many[:2] == [choice["text"] for choice in whole(server, n=2, temperature=5)["choices"]]
    greedy = {choice["text"] for choice in whole(server, n=5, temperature=0)["choices"]}
    assert len(greedy) == 1


def test_choices_end_each_by_itself(server: Server) -> None:
    """A stop string of one is none of the others; what is past it is not counted."""
    texts = [choice["text"] for choice in whole(server, n=4, temperature=5)["choices"]]
    stop = texts[2][2:4]
    answer = whole(server, n=4, temperature=5, stop=[stop])
    reasons = [choice["finish_reason"] for choice in answer["choices"]]
    for text, reason, choice in zip(texts, reasons, answer["choices"], strict=True):
        assert choice["text"] == text.split(stop)[0]
        assert reason == ("stop" if stop in text else "length")
    delivered = sum(len(choice["token_ids"]) for choice in answer["choices"])
    assert answer["usage"]["completion_tokens"] == delivered < 24


def test_at_most_128_choices(server: Server) -> None:
    """H21."""
    for n in (0, -1, 129, 2**31):
        response = server.post("/v1/generate", BASE | {"n": n})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "n"), n
