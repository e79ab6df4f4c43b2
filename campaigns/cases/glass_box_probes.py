"""What each parameter of the glass box is to do, as requests and a verdict on their answers.

A verdict looks at what the answer is made of (tokens, stages, rows), which both protocols have
alike, and follows from the parameter's definition alone.
"""

import base64
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from campaigns.callers.surfaces import Answer, Body
from campaigns.cases.parameter_probes import OTHER_MODEL, Probe

__all__ = ["glass_box_probes"]

SPECIAL = "ab<|endoftext|>"
AT_ONCE = 1e-9
Look = Callable[[Answer], object]


def glass_box_probes(ids: Mapping[str, int], *, vocabulary_size: int) -> list[Probe]:
    """The probes of every call's parameters.

    Args:
        ids: The token of each letter.
        vocabulary_size: Of the model that is asked.
    """
    return [
        *_of_inspecting(ids),
        *_of_resampling(ids, vocabulary_size),
        *_of_attention(ids),
        *_of_embedding(ids),
        *_of_texts("embed_text", {"text": "abcd"}, ids, lambda each: each.whole["num_tokens"]),
        *_of_scoring(ids),
    ]


def _of_inspecting(ids: Mapping[str, int]) -> list[Probe]:
    text: Body = {"text": "aab", "start": 2, "seed": 1}
    hot: Body = {**text, "temperature": 50, "top_k": 0}
    new: Body = {**text, "num_prompt_tokens": 0}
    short: Body = {**new, "min_tokens": 9}
    penalised: Body = {
        **text,
        "temperature": 0,
        "presence_penalty": 60,
        "logit_bias": {str(ids["a"]): 100, str(ids["b"]): 90},
    }

    def probe(name: str, *bodies: Body, holds: Callable[[Sequence[Answer]], bool]) -> Probe:
        return Probe(name, bodies, holds, family="inspect")

    def changes(name: str, value: object, base: Body, *, stage: int) -> Probe:
        """With it, and not without it, a stage differs from the one before."""
        return probe(
            name,
            base,
            {**base, name: value},
            holds=lambda given: (
                [_entropy(each, stage) == _entropy(each, stage - 1) for each in given]
                == [True, False]
            ),
        )

    def narrows(name: str, value: float, *, stage: int, num_kept: int) -> Probe:
        return probe(
            name,
            hot,
            {**hot, name: value},
            holds=lambda given: _kept(given[0], stage) > num_kept == _kept(given[1], stage),
        )

    def bans(name: str, value: object, base: Body, *, num_more: int) -> Probe:
        return probe(
            name,
            base,
            {**base, name: value},
            holds=lambda given: _kept(given[1], 2) - _kept(given[0], 2) == -num_more,
        )

    return [
        *_of_texts("inspect", {"text": "abcd"}, ids, _num_tokens),
        _special("inspect", _num_tokens),
        _told(
            "start", "inspect", {"text": "abcd"}, 3, lambda each: len(_inspections(each)), [3, 1]
        ),
        _told("end", "inspect", {"text": "abcd"}, 2, lambda each: len(_inspections(each)), [3, 1]),
        *_of_inspections("inspect", text),
        probe(
            "num_prompt_tokens",
            # What the continuation has is taken back: the second best is next.
            penalised,
            {**penalised, "num_prompt_tokens": 0},
            holds=lambda given: [_drawn(each) for each in given] == [ids["a"], ids["b"]],
        ),
        probe(
            "choice_index",
            text,
            {**text, "choice_index": 0},
            {**text, "choice_index": 1},
            holds=lambda given: _word(given[0]) == _word(given[1]) != _word(given[2]),
        ),
        probe(
            "seed",
            text,
            text,
            {**text, "seed": 2},
            holds=lambda given: _word(given[0]) == _word(given[1]) != _word(given[2]),
        ),
        narrows("temperature", 0, stage=3, num_kept=1),
        narrows("top_k", 5, stage=4, num_kept=5),
        narrows("top_p", AT_ONCE, stage=5, num_kept=1),
        narrows("min_p", 1, stage=6, num_kept=1),
        changes("repetition_penalty", 50, {**text, "repetition_penalty": 1}, stage=1),
        changes("presence_penalty", 60, new, stage=1),
        changes("frequency_penalty", 60, new, stage=1),
        changes("logit_bias", {str(ids["a"]): 100}, text, stage=2),
        bans("min_tokens", 9, new, num_more=1),
        bans("stop_token_ids", [ids["a"]], short, num_more=1),
        bans("ignore_eos", True, short, num_more=-1),
        *(
            # What chooses no token is refused; gRPC declares it with the others.
            probe(
                name,
                text,
                {**text, name: value},
                holds=lambda given: (
                    [each.code for each in given] == [None, "unsupported_parameter"]
                ),
            )
            for name, value in (
                *(("max_tokens", 3), ("n", 2), ("stop", "zz"), ("logprobs", 1)),
                ("echo", True),
            )
        ),
    ]


def _of_resampling(ids: Mapping[str, int], vocabulary_size: int) -> list[Probe]:
    def logits(**letters: float) -> str:
        values = array("f", [0.0] * vocabulary_size)
        for letter, value in letters.items():
            values[ids[letter]] = value
        return base64.b64encode(values.tobytes()).decode()

    before = [ids["a"], ids["a"]]
    base: Body = {"logits": logits(a=9), "ids": before, "parameters": [{"temperature": 0}]}
    penalised = {
        **base,
        "logits": logits(a=100, b=90),
        "parameters": [{"temperature": 0, "presence_penalty": 60}],
    }
    seeded = {**base, "parameters": [{"seed": 1}]}
    return [
        *_of_request("resample", base),
        _told("logits", "resample", base, logits(b=9), _drawn, [ids["a"], ids["b"]]),
        _told("ids", "resample", base, [*before, *before], _position, [2, 4]),
        _told(
            "parameters",
            "resample",
            base,
            [{"temperature": 0}, {}],
            lambda each: len(_inspections(each)),
            [1, 2],
        ),
        _told("num_prompt_tokens", "resample", penalised, 0, _drawn, [ids["a"], ids["b"]]),
        Probe(
            "choice_index",
            (seeded, {**seeded, "choice_index": 1}),
            lambda given: _word(given[0]) != _word(given[1]),
            family="resample",
        ),
        *_of_inspections("resample", base),
    ]


def _of_attention(ids: Mapping[str, int]) -> list[Probe]:
    text: Body = {"text": "abcd"}
    return [
        *_of_texts("attention", text, ids, _num_tokens),
        _special("attention", _num_tokens),
        _told("layers", "attention", text, [1], lambda each: len(each.whole["maps"]), [8, 4]),
        _told("heads", "attention", text, [0, 2], lambda each: len(each.whole["maps"]), [8, 4]),
        _told("start", "attention", text, 3, _num_rows, [4, 1]),
        _told("end", "attention", text, 2, _num_rows, [4, 2]),
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
        *_of_request("embedding", by_id),
        asked("id", ids["a"], ids["b"]),
        asked("text", "a", "b"),
        _told(
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
        *_of_texts("score", text, ids, lambda each: each.whole["scores"][0]["num_tokens"]),
        _told("side_by_side", "score", text, True, lambda each: len(each.whole["scores"]), [1, 2]),
        _told(
            "token_surprises",
            "score",
            text,
            True,
            lambda each: len(each.whole["scores"][0]["tokens"]),
            [0, 4],
        ),
    ]


def _of_texts(family: str, text: Body, ids: Mapping[str, int], look: Look) -> list[Probe]:
    """Those of a call that is about a text; how ``look`` counts its tokens."""
    word = [ids[letter] for letter in "abc"]
    probes = [
        *_of_request(family, text),
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
    return [*probes, _special(family, look)] if family == "embed_text" else probes


def _of_request(family: str, body: Body) -> list[Probe]:
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


def _of_inspections(family: str, body: Body) -> list[Probe]:
    few, many = {"inspect.candidates": 2}, {"inspect.candidates": 9}
    return [
        Probe(
            "inspect.candidates",
            ({**body, **few}, {**body, **many}),
            # The token and the drawn one stand among them or beside them.
            lambda given: (
                len(_inspections(given[0])[0]["candidates"])
                <= 4
                < 9
                <= len(_inspections(given[1])[0]["candidates"])
                <= 11
            ),
            family=family,
        ),
        Probe(
            "inspect.logits",
            (body, {**body, "inspect.logits": True}),
            lambda given: (
                [bool(_inspections(each)[0]["logits"]) for each in given] == [False, True]
            ),
            family=family,
        ),
    ]


def _special(family: str, look: Look) -> Probe:
    return _told("parse_special_tokens", family, {"text": SPECIAL}, True, look, [15, 3])


def _told(
    name: str, family: str, body: Body, value: object, look: Look, expected: list[int]
) -> Probe:
    """What is seen without the parameter and with it."""
    return Probe(
        name,
        (body, {**body, name: value}),
        lambda given: [look(each) for each in given] == expected,
        family=family,
    )


def _inspections(answer: Answer) -> list[dict[str, Any]]:
    return answer.whole["inspections"]


def _num_tokens(answer: Answer) -> int:
    return len(answer.whole["tokens"])


def _num_rows(answer: Answer) -> int:
    return len(answer.whole["maps"][0]["rows"])


def _drawn(answer: Answer) -> int:
    return _inspections(answer)[0]["drawn_token"]["id"]


def _position(answer: Answer) -> int:
    return _inspections(answer)[0]["position"]


def _word(answer: Answer) -> int:
    return _inspections(answer)[0]["random_word"]


def _kept(answer: Answer, stage: int) -> int:
    return _inspections(answer)[0]["stages"][stage]["num_kept"]


def _entropy(answer: Answer, stage: int) -> float:
    return _inspections(answer)[0]["stages"][stage]["entropy_bits"]
