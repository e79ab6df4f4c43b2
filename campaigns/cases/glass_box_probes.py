"""What each parameter of the glass box is to do, as requests and a verdict on their answers.

A verdict looks at what the answer is made of (tokens, stages, rows), which both protocols have
alike, and follows from the parameter's definition alone.
"""

from collections.abc import Mapping

from campaigns.callers.surfaces import Answer, Body
from campaigns.cases.inspection_probes import (
    generating_probes,
    inspecting_probes,
    resampling_probes,
)
from campaigns.cases.parameter_probes import Probe
from campaigns.cases.probe_shapes import of_request, of_texts, special, told

__all__ = ["glass_box_probes"]


def glass_box_probes(ids: Mapping[str, int], *, vocabulary_size: int) -> list[Probe]:
    """The probes of every call's parameters.

    Args:
        ids: The token of each letter.
        vocabulary_size: Of the model that is asked.
    """
    return [
        *generating_probes(ids),
        *inspecting_probes(ids),
        *resampling_probes(ids, vocabulary_size=vocabulary_size),
        *_of_attention(ids),
        *_of_embedding(ids),
        *of_texts("embed_text", {"text": "abcd"}, ids, lambda each: each.whole["num_tokens"]),
        *_of_scoring(ids),
    ]


def _of_attention(ids: Mapping[str, int]) -> list[Probe]:
    text: Body = {"text": "abcd"}
    return [
        *of_texts("attention", text, ids, _num_tokens),
        special("attention", _num_tokens),
        told("layers", "attention", text, [1], lambda each: len(each.whole["maps"]), [8, 4]),
        told("heads", "attention", text, [0, 2], lambda each: len(each.whole["maps"]), [8, 4]),
        told("start", "attention", text, 3, _num_rows, [4, 1]),
        told("end", "attention", text, 2, _num_rows, [4, 2]),
    ]


def _of_embedding(ids: Mapping[str, int]) -> list[Probe]:
    def found(answer: Answer) -> object:
        return answer.whole["token"]["id"]

    def asked(name: str, first: object, second: object) -> Probe:
        return Probe(
            name,
            ({name: first}, {name: second}),
            lambda given: [found(each) for each in given] == [ids["a"], ids["b"]],
            family="embedding",
        )

    by_id: Body = {"id": ids["a"]}
    return [
        *of_request("embedding", by_id),
        asked("id", ids["a"], ids["b"]),
        asked("text", "a", "b"),
        told(
            "neighbours",
            "embedding",
            by_id,
            3,
            lambda each: len(each.whole["neighbours"]),
            [10, 3],
        ),
    ]


def _of_scoring(ids: Mapping[str, int]) -> list[Probe]:
    text: Body = {"text": "abcd"}
    return [
        *of_texts("score", text, ids, lambda each: each.whole["scores"][0]["num_tokens"]),
        told("side_by_side", "score", text, True, lambda each: len(each.whole["scores"]), [1, 2]),
        told(
            "token_surprises",
            "score",
            text,
            True,
            lambda each: len(each.whole["scores"][0]["tokens"]),
            [0, 4],
        ),
    ]


def _num_tokens(answer: Answer) -> int:
    return len(answer.whole["tokens"])


def _num_rows(answer: Answer) -> int:
    return len(answer.whole["maps"][0]["rows"])
