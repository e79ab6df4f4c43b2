"""OpenAI's library for Python: completions, conversations, vectors, models, errors."""

import openai
from checking import KEY, MODEL, REST, equal, holds, run
from openai import OpenAI

ASKED = {"model": MODEL, "seed": 7, "max_tokens": 24}
SAID = [{"role": "user", "content": "Tell me about the wolf."}]


def completions(client: OpenAI) -> None:
    whole = client.completions.create(prompt="Once upon a time", **ASKED)
    chunks = list(client.completions.create(prompt="Once upon a time", stream=True, **ASKED))
    text = whole.choices[0].text
    equal("completion, streamed", "".join(each.choices[0].text for each in chunks), text)
    equal("tokens told", whole.usage.completion_tokens, 24)
    *_, last = client.completions.create(
        prompt="Once", stream=True, stream_options={"include_usage": True}, **ASKED
    )
    equal("choices of the chunk of usage", last.choices, [])
    equal("tokens told by the stream", last.usage.completion_tokens, 24)
    stop = text[3:5]
    stopped = client.completions.create(prompt="Once upon a time", stop=[stop], **ASKED)
    equal("text before a stop string", stopped.choices[0].text, text[: text.index(stop)])
    equal("reason of a stop string", stopped.choices[0].finish_reason, "stop")
    several = client.completions.create(prompt=["a", "b"], n=2, **ASKED)
    equal("choices of two prompts", [each.index for each in several.choices], [0, 1, 2, 3])
    told = client.completions.create(prompt="Once", logprobs=2, echo=True, **ASKED)
    logprobs = told.choices[0].logprobs
    equal("first logprob of an echo", logprobs.token_logprobs[0], None)
    holds("as many tokens as logprobs", len(logprobs.tokens) == len(logprobs.token_logprobs))
    by_key = client.completions.create(prompt="Once", extra_body={"top_k": 1}, **ASKED)
    greedy = client.completions.create(prompt="Once", temperature=0, **ASKED)
    equal("vLLM's top_k", by_key.choices[0].text, greedy.choices[0].text)


def conversations(client: OpenAI) -> None:
    whole = client.chat.completions.create(messages=SAID, n=2, **ASKED)
    parts = {0: "", 1: ""}
    roles = []
    for chunk in client.chat.completions.create(messages=SAID, n=2, stream=True, **ASKED):
        delta = chunk.choices[0].delta
        parts[chunk.choices[0].index] += delta.content or ""
        roles += [delta.role] if delta.role else []
    equal("answers, streamed", parts, {each.index: each.message.content for each in whole.choices})
    equal("roles told", roles, ["assistant", "assistant"])
    told = client.chat.completions.create(messages=SAID, logprobs=True, top_logprobs=2, **ASKED)
    content = told.choices[0].logprobs.content
    data = bytes(byte for token in content for byte in token.bytes)
    equal("bytes of the logprobs", data.decode(errors="replace"), told.choices[0].message.content)
    limited = client.chat.completions.create(
        model=MODEL, messages=SAID, max_completion_tokens=5, extra_body={"ignore_eos": True}
    )
    equal("max_completion_tokens", limited.usage.completion_tokens, 5)


def vectors(client: OpenAI) -> None:
    packed = client.embeddings.create(model=MODEL, input=["The wolf", "The fox"])
    numbers = client.embeddings.create(
        model=MODEL, input=["The wolf", "The fox"], encoding_format="float"
    )
    for one, other in zip(packed.data, numbers.data, strict=True):
        holds(
            "vectors by base64 and as numbers are the same",
            max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6,
        )


def errors(client: OpenAI) -> None:
    for kind, ask in (
        (openai.BadRequestError, lambda: client.completions.create(prompt="x", top_p=7, **ASKED)),
        (openai.NotFoundError, lambda: client.models.retrieve("nobody")),
        (
            openai.AuthenticationError,
            lambda: client.with_options(api_key="wrong").completions.create(prompt="x", **ASKED),
        ),
    ):
        try:
            ask()
        except kind as error:
            holds(f"{kind.__name__} has a request id", error.request_id)
        else:
            holds(f"{kind.__name__} is raised", False)


def main() -> None:
    with OpenAI(base_url=f"{REST}/v1", api_key=KEY, max_retries=0) as client:
        holds("the model is listed", MODEL in [each.id for each in client.models.list()])
        completions(client)
        conversations(client)
        vectors(client)
        errors(client)


run(main)
