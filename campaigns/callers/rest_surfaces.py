"""The ways to ask over REST, with the parameters that the OpenAPI page declares for each."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import httpx2

from campaigns.callers.surfaces import GLASS_BOX, OF_OPENAI, Answer, Body, Surface

__all__ = ["rest_surfaces"]

FAMILIES = {
    **{path: family for family, (path, _) in GLASS_BOX.items()},
    **{path: family for family, path in OF_OPENAI.items()},
}
# The page's own word for what makes a stream of an answer; a stream is a surface of its own.
STREAM = "stream"
# Events are no part of an answer in one; that of the usage is looked at unless it is in question.
OF_STREAMS = "stream_options."
USAGE = "stream_options.include_usage"


def rest_surfaces(http: httpx2.Client) -> Iterator[Surface]:
    """All of them.

    Args:
        http: Asks the server; its base URL is the server's.
    """
    page = http.get("/openapi.json").json()
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            names = _names(operation)
            family = FAMILIES.get(path, "")
            if method == "get" and names:
                yield Surface(f"GET {path}", names, _getter(http, path))
            elif method == "post" and STREAM in names:
                of_streams = {name for name in names if name.startswith(OF_STREAMS)}
                whole = _poster(http, path)
                yield Surface(f"POST {path}", names - of_streams, whole, family=family)
                streamed = frozenset(names - {STREAM})
                always = {STREAM: True, **({USAGE: True} if USAGE in names else {})}
                ask = _poster(http, path, always=always)
                yield Surface(f"POST {path} (stream)", streamed, ask, family=family)
            elif method == "post":
                yield Surface(f"POST {path}", names, _poster(http, path), family=family)


def _names(operation: Mapping[str, Any]) -> frozenset[str]:
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    if body := operation.get("requestBody"):
        properties = body["content"]["application/json"]["schema"]["properties"]
        for name, schema in properties.items():
            names |= {f"{name}.{inner}" for inner in schema.get("properties", ())} or {name}
    return frozenset(names)


def _getter(http: httpx2.Client, path: str) -> Callable[[Body], Answer]:
    return lambda body: _read(http.get(path.format(**body)))


def _poster(
    http: httpx2.Client, path: str, *, always: Body | None = None
) -> Callable[[Body], Answer]:
    def ask(body: Body) -> Answer:
        values = {**(always or {}), **body}
        for name in [name for name in values if "." in name]:
            outer, _, inner = name.partition(".")
            values[outer] = {**cast("Body", values.get(outer, {})), inner: values.pop(name)}
        return _read(http.post(path, json=values))

    return ask


def _read(response: httpx2.Response) -> Answer:
    answer = Answer(ignored=response.headers.get("x-ignored-parameters", ""))
    if not response.headers["content-type"].startswith("text/event-stream"):
        _add(answer, response.json())
        return answer
    answer.is_streamed = True
    for event in response.text.split("\n\n"):
        if event.startswith("data: {"):
            _add(answer, json.loads(event.removeprefix("data: ")))
    return answer


def _add(answer: Answer, part: Mapping[str, Any]) -> None:
    answer.whole = dict(part)
    match part:
        case {"error": error}:
            answer.code, answer.fault = error["code"], error["param"]
        case {"tokens": tokens, "count": count}:
            answer.texts[0] = "".join(token["text"] for token in tokens)
            answer.num_prompt_tokens = count
        case {"object": "model", "id": name}:
            answer.model = name
        case {"data": list(), "usage": usage}:
            answer.model = part["model"]
            answer.num_prompt_tokens = usage["prompt_tokens"]
        case _:
            for choice in part.get("choices", [part]):
                answer.add_choice(choice)
            answer.model = part.get("model", answer.model)
            if usage := part.get("usage"):
                answer.num_prompt_tokens = usage["prompt_tokens"]
                answer.num_tokens = usage["completion_tokens"]
                answer.num_usages += 1
                answer.is_usage_alone = part.get("choices") == []
