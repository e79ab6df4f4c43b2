"""OpenAI's own Python library against a real server: what it reads, and what it raises."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx2
import openai
import pytest
from openai import OpenAI, Stream
from openai.types import Completion

from tests.contract.live_server import START_SECONDS, Server, StartServer, wait_until

# Some seconds of work on any machine: `tests.slow_answers`.
LONG_TOKENS = 4000


def client_of(server: Server) -> OpenAI:
    return OpenAI(
        base_url=server.rest + "/v1", api_key="none", max_retries=0, timeout=START_SECONDS
    )


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="module")
def small_server(start_server: StartServer) -> Server:
    """A server that is full with one request, and whose engine may be killed."""
    return start_server("--max-running", "1", "--max-queued", "1", "--ping-interval", "0.2")


def chunks_of(stream: Stream[Completion]) -> list[Completion]:
    with stream:
        return list(stream)


def long_stream(client: OpenAI) -> Stream[Completion]:
    return client.completions.create(
        model="tiny",
        prompt="x",
        max_tokens=LONG_TOKENS,
        stream=True,
        extra_body={"ignore_eos": True},
    )


def shown_request_id(answer: Completion) -> str:
    # The library documents this name for everybody, underscore and all.
    return str(getattr(answer, "_request_id"))  # noqa: B009


def test_a_completion_has_what_the_library_reads(client: OpenAI) -> None:
    """Interfaces 1, 3, 4: OpenAI's defaults, not the model's 12 tokens."""
    answer = client.completions.create(model="tiny", prompt="Once upon a time", seed=3)
    assert answer.id.startswith("cmpl-")
    assert (answer.object, answer.model) == ("text_completion", "tiny@1")
    assert answer.created > 1_700_000_000
    assert answer.system_fingerprint
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "length", None)
    assert choice.text
    assert answer.usage is not None
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 16,
        "completion_tokens": 16,
        "total_tokens": 32,
    }


@pytest.mark.parametrize("options", [{}, {"n": 1, "best_of": 1, "user": "somebody"}])
def test_a_stream_is_the_completion_in_chunks(client: OpenAI, options: dict[str, object]) -> None:
    """Interfaces 5, 6: no chunk tells the usage unless it is asked for."""
    whole = client.completions.create(
        model="tiny", prompt="x", seed=5, max_tokens=30, extra_body=options
    )
    chunks = chunks_of(
        client.completions.create(
            model="tiny", prompt="x", seed=5, max_tokens=30, stream=True, extra_body=options
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    assert [
        chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason
    ] == ["length"]


def test_usage_comes_in_a_chunk_of_its_own(client: OpenAI) -> None:
    """Interfaces 6."""
    chunks = chunks_of(
        client.completions.create(
            model="tiny",
            prompt=["x", "yz"],
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
    )
    assert [len(chunk.choices) for chunk in chunks] == [1] * (len(chunks) - 1) + [0]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 8, 11)


def test_a_stop_string_ends_the_text_before_it(client: OpenAI) -> None:
    """Interfaces 4: `stop` for a stop string."""
    text = (
        client.completions.create(model="tiny", prompt="x", seed=9, max_tokens=40).choices[0].text
    )
    stop = text[10:13]
    for given in (stop, [stop, "never comes"]):
        choice = client.completions.create(
            model="tiny", prompt="x", seed=9, max_tokens=40, stop=given
        ).choices[0]
        assert (choice.text, choice.finish_reason) == (text[: text.index(stop)], "stop")


def test_the_seed_decides_the_text(client: OpenAI) -> None:
    texts = [
        client.completions.create(model="tiny", prompt="x", seed=seed, temperature=2)
        .choices[0]
        .text
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    """Interfaces 12."""
    model, ngram = client.models.list().data
    assert ngram.id == "tiny:ngram"
    assert (model.id, model.object, model.owned_by) == ("tiny", "model", "nextword")
    assert client.models.retrieve("tiny").created == model.created
    assert client.models.retrieve("tiny@1").id == "tiny"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_bad_requests_raise_what_the_library_has_for_them(client: OpenAI) -> None:
    """H134; interfaces 8, 9: a stream's early failure has a real status too."""
    for is_streamed in (False, True):
        with pytest.raises(openai.BadRequestError) as bad:
            client.completions.create(model="tiny", prompt="x", top_p=7, stream=is_streamed)
        assert (bad.value.code, bad.value.param) == ("invalid_value", "top_p")
        assert bad.value.type == "invalid_request_error"
        assert "top_p" in bad.value.message
        with pytest.raises(openai.NotFoundError) as unknown:
            client.completions.create(model="nobody", prompt="x", stream=is_streamed)
        assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as route:
        client.moderations.create(input="x")
    assert route.value.code == "unknown_url"


def test_the_request_id_is_shown(client: OpenAI) -> None:
    """Interfaces 11: the client's own when it is harmless, else one of ours, on errors too."""
    answer = client.completions.create(
        model="tiny", prompt="x", max_tokens=1, extra_headers={"x-request-id": "mine-1"}
    )
    assert shown_request_id(answer) == "mine-1"
    answer = client.completions.create(model="tiny", prompt="x", max_tokens=1)
    assert shown_request_id(answer).startswith("req-")
    with pytest.raises(openai.BadRequestError) as bad:
        client.completions.create(model="tiny", prompt="")
    assert (bad.value.request_id or "").startswith("req-")


def test_a_full_server_raises_a_rate_limit_with_a_time_to_come_back(small_server: Server) -> None:
    """Interfaces 10; H134."""
    with client_of(small_server) as client, ThreadPoolExecutor(2) as pool:
        stream = long_stream(client)
        waiting = pool.submit(client.completions.create, model="tiny", prompt="x", max_tokens=1)
        wait_until(lambda: small_server.metric("nextword_requests_in_flight") == 2)
        with pytest.raises(openai.RateLimitError) as full:
            client.completions.create(model="tiny", prompt="x")
        assert full.value.code == "server_overloaded"
        assert 1 <= int(full.value.response.headers["retry-after"]) <= 120
        stream.close()
        assert waiting.result(START_SECONDS).choices


def test_the_library_waits_as_it_is_told_and_tries_again(
    small_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interfaces 10: it obeys Retry-After, which here is noted instead of slept through."""
    told: list[float] = []

    def note(seconds: float) -> None:
        told.append(seconds)
        threading.Event().wait(0.05)

    monkeypatch.setattr(time, "sleep", note)
    patient = client_of(small_server).with_options(max_retries=10_000)
    with patient as client, ThreadPoolExecutor(2) as pool:
        stream = long_stream(client)
        ask = partial(client.completions.create, model="tiny", prompt="x", max_tokens=1)
        waiting = pool.submit(ask)
        wait_until(lambda: small_server.metric("nextword_requests_in_flight") == 2)
        again = pool.submit(ask)
        wait_until(lambda: bool(told))
        stream.close()
        assert waiting.result(START_SECONDS).choices
        assert again.result(START_SECONDS).choices
    assert all(seconds == int(seconds) and 1 <= seconds <= 120 for seconds in told)


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/completions"])
def test_a_stream_that_has_to_wait_is_kept_open_by_pings(small_server: Server, path: str) -> None:
    """Interfaces 9, 23; H77: whole comment lines, before and between events, never inside one."""
    body = {"prompt": "x", "max_tokens": 5, "stream": True, "ignore_eos": True}
    blocks: list[str] = []
    with client_of(small_server) as client:
        running = client.completions.create(
            model="tiny",
            prompt="x",
            max_tokens=LONG_TOKENS,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(running)
        url = small_server.rest + path
        with httpx2.stream("POST", url, json=body, timeout=START_SECONDS, verify=False) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                blocks += [line] if line else []
                if blocks == [": ping"]:
                    running.close()
    assert blocks[0] == ": ping"
    assert blocks[-1] == "data: [DONE]"
    # Everything else is a whole event: none has a ping in it, none follows the end.
    events = [json.loads(block[len("data: ") :]) for block in blocks[:-1] if block != ": ping"]
    assert events


def test_a_lost_engine_breaks_a_stream_off_and_refuses_what_comes_next(
    small_server: Server,
) -> None:
    """Interfaces 9; H71, H101, H134: an error event, no [DONE], then 503 until it is back."""
    with client_of(small_server) as client:
        stream = long_stream(client)
        next(stream)
        os.kill(small_server.engine_process_id(), signal.SIGKILL)
        with pytest.raises(openai.APIError) as broken:
            list(stream)
        assert not isinstance(broken.value, openai.APIStatusError)
        assert broken.value.code == "engine_unavailable"
        with pytest.raises(openai.InternalServerError) as refused:
            client.completions.create(model="tiny", prompt="x")
        assert (refused.value.status_code, refused.value.code) == (503, "engine_unavailable")
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 120
        wait_until(lambda: small_server.get("/readyz").status_code == 200)
        assert client.completions.create(model="tiny", prompt="x").choices


def test_the_engine_ends_a_batch_whose_reader_has_left(server: Server, client: OpenAI) -> None:
    """Closing the stream cancels every prompt of it."""
    stream = client.completions.create(
        model="tiny",
        prompt=["x", "y", "z"],
        max_tokens=LONG_TOKENS,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    while next(stream).choices[0].index != 2:
        pass
    assert server.metric("nextword_engine_running") == 3
    stream.close()
    wait_until(lambda: server.metric("nextword_engine_running") == 0)
    wait_until(lambda: server.metric("nextword_requests_in_flight") == 0)


def test_what_had_no_effect_is_named_in_a_header(client: OpenAI) -> None:
    """Interfaces 17."""
    raw = client.completions.with_raw_response.create(
        model="tiny", prompt="x", max_tokens=1, user="me", extra_body={"max_token": 9}
    )
    assert raw.headers["x-ignored-parameters"] == "user, max_token"
    plain = client.completions.with_raw_response.create(model="tiny", prompt="x", max_tokens=1)
    assert "x-ignored-parameters" not in plain.headers
