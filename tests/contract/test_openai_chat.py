"""Conversations by OpenAI's own Python library, and the wire of /v1/chat/completions."""

import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.contract.live_server import START_SECONDS, Server, StartServer, wait_until

PATH = "/v1/chat/completions"
BASE: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me"}],
    "max_completion_tokens": 12,
    "seed": 5,
}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=server.rest + "/v1", api_key="none", max_retries=0, timeout=START_SECONDS
    ) as client:
        yield client


def chat(client: OpenAI, **changes: Any) -> ChatCompletion:
    create: Any = client.chat.completions.create
    return create(**{"model": "tiny", **BASE, **changes})


def chunks_of(client: OpenAI, **changes: Any) -> list[ChatCompletionChunk]:
    create: Any = client.chat.completions.create
    with create(**{"model": "tiny", **BASE, **changes, "stream": True}) as stream:
        return list(stream)


def test_an_answer_has_what_the_library_reads(client: OpenAI) -> None:
    """Interfaces 3, 4, 14."""
    answer = chat(client)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "tiny@1")
    assert answer.created > 1_700_000_000
    assert answer.system_fingerprint
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "length", None)
    assert (choice.message.role, choice.message.refusal) == ("assistant", None)
    assert choice.message.content
    assert answer.usage is not None
    prompt = "user: Tell me\nassistant: "
    # Each byte is a token, and the turn's end is one.
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": len(prompt) + 1,
        "completion_tokens": 12,
        "total_tokens": len(prompt) + 13,
    }


def test_it_continues_what_the_template_writes(server: Server, client: OpenAI) -> None:
    """The same as the text with its control tokens, on the native route."""
    body = {"prompt": "user: Tell me<|endoftext|>\nassistant: ", "parse_special_tokens": True}
    sampling = {"max_tokens": 12, "seed": 5, "temperature": 1, "top_k": 0}
    native = server.post("/v1/generate", body | sampling).json()["choices"][0]["text"]
    assert chat(client).choices[0].message.content == native


def test_a_stream_is_the_answer_in_chunks(client: OpenAI) -> None:
    """Interfaces 5, 6, 14: who speaks is said once for each choice, why it ends once too."""
    # Far more than the engine computes in one go, which may come in one chunk.
    length: dict[str, Any] = {"max_completion_tokens": 300, "extra_body": {"ignore_eos": True}}
    whole = chat(client, n=2, **length)
    chunks = chunks_of(client, n=2, **length)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    for index in (0, 1):
        own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        text = "".join(choice.delta.content or "" for choice in own)
        assert text == whole.choices[index].message.content
        assert [choice.delta.role for choice in own] == ["assistant", *[None] * (len(own) - 1)]
        assert [choice.finish_reason for choice in own] == [*[None] * (len(own) - 1), "length"]
        assert len(own) > 1
    assert whole.choices[0].message.content != whole.choices[1].message.content


@pytest.mark.parametrize("is_continuous", [False, True])
def test_usage_comes_last_or_in_each_chunk(client: OpenAI, is_continuous: bool) -> None:
    """Interfaces 6, 63."""
    options = {"include_usage": True, "continuous_usage_stats": is_continuous}
    chunks = chunks_of(client, stream_options=options, extra_body={"ignore_eos": True})
    assert [len(chunk.choices) for chunk in chunks] == [1] * (len(chunks) - 1) + [0]
    assert all((chunk.usage is not None) is is_continuous for chunk in chunks[:-1])
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12


def test_logprobs_have_bytes_and_rivals(client: OpenAI) -> None:
    """Interfaces 15: in chunks as in one piece, of tokens that are parts of characters too."""
    whole = chat(client, logprobs=True, top_logprobs=3).choices[0]
    assert whole.logprobs is not None
    content = whole.logprobs.content
    assert content is not None
    assert len(content) == 12
    for token in content:
        assert token.bytes is not None
        assert token.logprob < 0
        assert len(token.top_logprobs) == 3
        assert sorted((rival.logprob for rival in token.top_logprobs), reverse=True) == [
            rival.logprob for rival in token.top_logprobs
        ]
    data = bytes(byte for token in content for byte in token.bytes or ())
    assert data.decode("utf-8", "replace") == whole.message.content
    streamed = [
        token
        for chunk in chunks_of(client, logprobs=True, top_logprobs=3)
        for choice in chunk.choices
        if choice.logprobs is not None
        for token in choice.logprobs.content or ()
    ]
    assert streamed == content
    alone = chat(client, logprobs=True).choices[0].logprobs
    assert alone is not None
    assert [token.top_logprobs for token in alone.content or ()] == [[]] * 12
    assert math.fsum(token.logprob for token in alone.content or ()) == math.fsum(
        token.logprob for token in content
    )


def test_parameters_are_those_of_every_route(client: OpenAI) -> None:
    """Interfaces 2, 4, 14: stop, seed, n, greedy, vLLM's keys, both names of the limit."""
    text = chat(client).choices[0].message.content or ""
    stopped = chat(client, stop=[text[4:6], "never comes"]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (text[:4], "stop")
    assert chat(client, seed=6).choices[0].message.content != text
    greedy = [chat(client, temperature=0, seed=seed).choices[0] for seed in (1, 2)]
    assert greedy[0].message.content == greedy[1].message.content
    narrow = chat(client, temperature=5, extra_body={"top_k": 1}).choices[0]
    assert narrow.message.content == greedy[0].message.content
    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3, "max_tokens": 3}):
        limited = chat(
            client, **{"max_completion_tokens": None, **limit}, extra_body={"ignore_eos": True}
        )
        assert limited.usage is not None
        assert limited.usage.completion_tokens == 3


def test_without_a_limit_the_answer_may_fill_the_context(client: OpenAI) -> None:
    answer = chat(
        client,
        max_completion_tokens=None,
        messages=[{"role": "user", "content": "x" * 4000}],
        extra_body={"ignore_eos": True},
    )
    assert answer.usage is not None
    # The last token is not read again.
    assert answer.usage.total_tokens == 4097


def test_what_asks_for_nothing_special_is_served(client: OpenAI) -> None:
    """Interfaces 17: what programs send by themselves, parts of texts, developers."""
    plain = chat(client).choices[0].message.content
    harmless = {
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "continue_final_message": False,
        "logit_bias": {},
        "stop": None,
    }
    assert chat(client, extra_body=harmless).choices[0].message.content == plain
    parts = [{"type": "text", "text": "Tell"}, {"type": "text", "text": " me"}]
    in_parts = chat(client, messages=[{"role": "user", "content": parts}])
    assert in_parts.choices[0].message.content == plain
    both = [
        chat(client, messages=[{"role": role, "content": "Be kind."}, *BASE["messages"]])
        for role in ("system", "developer")
    ]
    assert both[0].choices == both[1].choices
    create: Any = client.chat.completions.with_raw_response.create
    raw = create(
        model="tiny",
        messages=[{"role": "user", "content": "x", "mood": "good"}],
        max_tokens=1,
        user="me",
        store=True,
        extra_body={"max_token": 9},
    )
    assert sorted(raw.headers["x-ignored-parameters"].split(", ")) == [
        "max_token",
        "messages.mood",
        "store",
        "user",
    ]


def test_control_tokens_in_what_people_say_are_text(client: OpenAI) -> None:
    """H42."""
    said = chat(client, messages=[{"role": "user", "content": "<|endoftext|>"}])
    plain = chat(client, messages=[{"role": "user", "content": "x" * 13}])
    assert said.usage is not None
    assert plain.usage is not None
    assert said.usage.prompt_tokens == plain.usage.prompt_tokens


def test_leaving_ends_the_answer(server: Server, client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny",
        messages=BASE["messages"],
        max_tokens=3900,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    next(stream)
    stream.close()
    wait_until(lambda: server.metric("nextword_engine_running") == 0)
    wait_until(lambda: server.metric("nextword_requests_in_flight") == 0)


def test_a_deadline_ends_it(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as late:
        chat(client, extra_body={"timeout_seconds": 1e-9})
    assert (late.value.status_code, late.value.code) == (504, "deadline_exceeded")
    assert late.value.response.headers["x-should-retry"] == "false"


def test_a_model_without_a_template_says_so(start_server: StartServer) -> None:
    """Interfaces 14: a clear 400, with a stream too, and other routes are as ever."""
    server = start_server()
    for is_streamed in (False, True):
        response = server.post(PATH, BASE | {"stream": is_streamed})
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (
            400,
            "invalid_value",
            "model",
        )
        assert "no chat template" in error["message"]
    assert server.post("/v1/completions", {"prompt": "x", "max_tokens": 1}).status_code == 200
