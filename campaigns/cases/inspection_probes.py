"""What each parameter of inspecting and resampling is to do, as requests and a verdict.

A verdict looks at stages, numbers and drawn tokens, which both protocols have alike.
"""

import base64
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from campaigns.callers.surfaces import Answer, Body
from campaigns.cases.parameter_probes import MANY, Probe
from campaigns.cases.probe_shapes import AT_ONCE, of_request, of_texts, special, told

__all__ = ["generating_probes", "inspecting_probes", "resampling_probes"]


def generating_probes(ids: Mapping[str, int]) -> list[Probe]:
    """Those of `inspect` while generating."""
    only_a: Body = {"prompt": "x", "max_tokens": MANY, "logit_bias": {str(ids["a"]): 100}}
    return [
        Probe(
            "inspect.candidates",
            (only_a, {**only_a, "inspect.candidates": 3}),
            # The token itself stands among them or beside them.
            lambda given: (
                given[0].num_candidates == []
                and len(given[1].num_candidates) == MANY
                and set(given[1].num_candidates) <= {3, 4}
            ),
        ),
        Probe(
            "inspect.logits",
            (
                {**only_a, "inspect.candidates": 1, "inspect.logits": False},
                {**only_a, "inspect.candidates": 1, "inspect.logits": True},
            ),
            lambda given: (
                [any(each.num_logits) for each in given] == [False, True]
                and all(given[1].num_logits)
            ),
        ),
    ]


def inspecting_probes(ids: Mapping[str, int]) -> list[Probe]:
    """Those of a given text."""
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
        *of_texts("inspect", {"text": "abcd"}, ids, _num_tokens),
        special("inspect", _num_tokens),
        told("start", "inspect", {"text": "abcd"}, 3, lambda each: len(_inspections(each)), [3, 1]),
        told("end", "inspect", {"text": "abcd"}, 2, lambda each: len(_inspections(each)), [3, 1]),
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


def resampling_probes(ids: Mapping[str, int], *, vocabulary_size: int) -> list[Probe]:
    """Those of given logits."""

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
        *of_request("resample", base),
        told("logits", "resample", base, logits(b=9), _drawn, [ids["a"], ids["b"]]),
        told("ids", "resample", base, [*before, *before], _position, [2, 4]),
        told(
            "parameters",
            "resample",
            base,
            [{"temperature": 0}, {}],
            lambda each: len(_inspections(each)),
            [1, 2],
        ),
        told("num_prompt_tokens", "resample", penalised, 0, _drawn, [ids["a"], ids["b"]]),
        Probe(
            "choice_index",
            (seeded, {**seeded, "choice_index": 1}),
            lambda given: _word(given[0]) != _word(given[1]),
            family="resample",
        ),
        *_of_inspections("resample", base),
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


def _inspections(answer: Answer) -> list[dict[str, Any]]:
    return answer.whole["inspections"]


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


def _num_tokens(answer: Answer) -> int:
    return len(answer.whole["tokens"])
