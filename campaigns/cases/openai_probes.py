"""Probes of OpenAI's routes for conversations and vectors: those of a prompt, and of their own.

A conversation of one message is a prompt in other words, so what holds of the one holds of the
other.
"""

from collections.abc import Iterable, Mapping

from campaigns.callers.surfaces import OF_OPENAI, Answer, Body
from campaigns.cases.parameter_probes import OTHER_MODEL, Probe

__all__ = ["openai_probes"]

CHAT, EMBEDDINGS = OF_OPENAI
# They mean another thing here, or nothing.
NOT_OF_CHAT = ("prompt", "prompt_ids", "echo", "logprobs", "best_of")
GREEDY: Body = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}


def openai_probes(of_prompts: Iterable[Probe]) -> list[Probe]:
    """The probes of both routes.

    Args:
        of_prompts: Those of routes that take a prompt, and perhaps others.
    """
    translated = [
        Probe(probe.name, tuple(map(_in_a_message, probe.bodies)), probe.holds, family=CHAT)
        for probe in of_prompts
        if not probe.family
        and probe.name not in NOT_OF_CHAT
        and all("prompt" in body for body in probe.bodies)
    ]
    return [*translated, *_of_chat(), *_of_embeddings()]


def _in_a_message(body: Body) -> Body:
    rest = {name: value for name, value in body.items() if name != "prompt"}
    return {**rest, "messages": [{"role": "user", "content": body["prompt"]}]}


def _of_chat() -> list[Probe]:
    def said(*texts: str) -> Body:
        return {**GREEDY, "messages": [{"role": "user", "content": text} for text in texts]}

    def rivals(answer: Answer) -> set[int]:
        return set(answer.num_rivals)

    one = said("x")
    both = {**one, "logprobs": True}
    return [
        Probe(
            "messages",
            (said("b"), said("bcd"), said("b", "b")),
            lambda given: (
                given[1].num_prompt_tokens == given[0].num_prompt_tokens + 2
                and given[2].num_prompt_tokens > given[1].num_prompt_tokens
            ),
            family=CHAT,
        ),
        Probe(
            "max_completion_tokens",
            (
                {**_without(one, "max_tokens"), "max_completion_tokens": 3},
                {**_without(one, "max_tokens"), "max_completion_tokens": 5},
            ),
            lambda given: [each.num_tokens for each in given] == [3, 5],
            family=CHAT,
        ),
        Probe(
            "logprobs",
            (one, both),
            lambda given: (given[0].num_rivals, given[1].num_rivals) == ([], [0] * 8),
            family=CHAT,
        ),
        Probe(
            "top_logprobs",
            ({**both, "top_logprobs": 1}, {**both, "top_logprobs": 3}),
            lambda given: [rivals(each) for each in given] == [{1}, {3}],
            family=CHAT,
        ),
    ]


def _of_embeddings() -> list[Probe]:
    def first(answer: Answer) -> object:
        return answer.whole["data"][0]["embedding"]

    one: Body = {"input": "ab"}
    return [
        Probe(
            "input",
            (one, {"input": ["ab", "abc"]}),
            lambda given: (
                [each.num_prompt_tokens for each in given] == [2, 5]
                and len(given[1].whole["data"]) == 2
            ),
            family=EMBEDDINGS,
        ),
        Probe(
            "encoding_format",
            (one, {**one, "encoding_format": "base64"}),
            lambda given: [type(first(each)) for each in given] == [list, str],
            family=EMBEDDINGS,
        ),
        Probe(
            "dimensions",
            (one, {**one, "dimensions": 1}),
            lambda given: [each.fault for each in given] == [None, "dimensions"],
            family=EMBEDDINGS,
        ),
        Probe(
            "model",
            (one, {**one, "model": OTHER_MODEL}, {**one, "model": "nobody"}),
            lambda given: (
                given[1].model.partition("@")[0] == OTHER_MODEL != given[0].model.partition("@")[0]
                and (given[2].code, given[2].fault) == ("model_not_found", "model")
            ),
            family=EMBEDDINGS,
        ),
        Probe(
            "timeout_seconds",
            (one, {**one, "timeout_seconds": 1e-9}),
            lambda given: [each.code for each in given] == [None, "deadline_exceeded"],
            family=EMBEDDINGS,
        ),
        Probe(
            "user",
            (one, {**one, "user": "somebody"}),
            # By definition it changes nothing, and the answer says so.
            lambda given: [each.ignored for each in given] == ["", "user"],
            family=EMBEDDINGS,
        ),
    ]


def _without(body: Mapping[str, object], name: str) -> Body:
    return {key: value for key, value in body.items() if key != name}
