"""Probes that several calls of the glass box share: of their texts, their model, their patience."""

from collections.abc import Callable, Mapping

from campaigns.callers.surfaces import Answer, Body
from campaigns.cases.parameter_probes import OTHER_MODEL, Probe

__all__ = ["AT_ONCE", "Look", "of_request", "of_texts", "special", "told"]

SPECIAL = "ab<|endoftext|>"
AT_ONCE = 1e-9
Look = Callable[[Answer], object]


def of_texts(family: str, text: Body, ids: Mapping[str, int], look: Look) -> list[Probe]:
    """Those of a call that is about a text; how ``look`` counts its tokens."""
    word = [ids[letter] for letter in "abc"]
    probes = [
        *of_request(family, text),
        Probe(
            "text",
            ({"text": "ab"}, {"text": "abcd"}),
            lambda given: [look(each) for each in given] == [2, 4],
            family=family,
        ),
        Probe(
            "ids",
            ({"ids": word[:2]}, {"ids": word}),
            lambda given: [look(each) for each in given] == [2, 3],
            family=family,
        ),
    ]
    return [*probes, special(family, look)] if family == "embed_text" else probes


def of_request(family: str, body: Body) -> list[Probe]:
    """The model and the time of a call with this body."""

    def asked(answer: Answer) -> str:
        return answer.whole.get("scores", [answer.whole])[0]["model"]

    return [
        Probe(
            "model",
            (body, {**body, "model": OTHER_MODEL}, {**body, "model": "nobody"}),
            lambda given: (
                asked(given[1]) == OTHER_MODEL != asked(given[0])
                and (given[2].code, given[2].fault) == ("model_not_found", "model")
            ),
            family=family,
        ),
        Probe(
            "timeout_seconds",
            (body, {**body, "timeout_seconds": AT_ONCE}),
            lambda given: [each.code for each in given] == [None, "deadline_exceeded"],
            family=family,
        ),
    ]


def special(family: str, look: Look) -> Probe:
    """Whether control tokens' strings are read as those tokens."""
    return told("parse_special_tokens", family, {"text": SPECIAL}, True, look, [15, 3])


def told(
    name: str, family: str, body: Body, value: object, look: Look, expected: list[int]
) -> Probe:
    """What is seen without the parameter and with it."""
    return Probe(
        name,
        (body, {**body, name: value}),
        lambda given: [look(each) for each in given] == expected,
        family=family,
    )
