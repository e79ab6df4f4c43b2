"""What each parameter is to do, as requests and a verdict on their answers.

A verdict follows from the parameter's definition alone and fails when it has no effect. Letters
stand for tokens: their ids get a large bias where a text must be known beforehand.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from campaigns.callers.surfaces import Answer, Body, Surface

__all__ = ["OTHER_MODEL", "Probe", "make_probes"]

# The name of the second model that the campaign's server serves.
OTHER_MODEL = "other"
LETTERS = "abcdefgh"
MANY = 8


@dataclass(frozen=True, slots=True)
class Probe:
    """One parameter's definition, made a question.

    Attributes:
        bodies: The requests, in order; a route that lacks one of their words cannot be asked.
        holds: Whether the answers to them are what the definition says.
        family: The call of the glass box or of OpenAI that it is for, empty for all other routes.
    """

    name: str
    bodies: tuple[Body, ...]
    holds: Callable[[Sequence[Answer]], bool]
    family: str = ""

    def can_be_said(self, surface: Surface) -> bool:
        """Whether a surface is of its family and has all of its words."""
        has_words = all(surface.parameters.issuperset(body) for body in self.bodies)
        return surface.family == self.family and has_words


def make_probes(ids: Mapping[str, int], *, end_id: int) -> list[Probe]:
    """The probes of every parameter, the same name more than once where routes differ.

    Args:
        ids: The token of each letter.
        end_id: The token that ends a text.
    """
    only_a: Body = {"prompt": "x", "max_tokens": MANY, "logit_bias": {str(ids["a"]): 100}}
    letters = {str(ids[letter]): 100 for letter in LETTERS}
    two_letters = {str(ids[letter]): 100 for letter in "ab"}
    greedy: Body = {"prompt": "x", "max_tokens": MANY, "temperature": 0, "ignore_eos": True}
    hot: Body = {**greedy, "temperature": 50, "top_k": 0, "max_tokens": 12}
    ends: Body = {"prompt": "x", "max_tokens": MANY, "logit_bias": {str(end_id): 100}}

    def narrowing(name: str, value: float) -> Probe:
        """With it only the likeliest token is left, so that the seed no longer matters."""
        with_it = {**hot, name: value}
        bodies = ({**hot, "seed": 1}, {**hot, "seed": 2}, {**with_it, "seed": 1})
        return Probe(
            name,
            (*bodies, {**with_it, "seed": 2}, {**hot, "temperature": 0, "seed": 1}),
            lambda given: (
                given[0].text != given[1].text
                and given[2].text == given[3].text == given[4].text != ""
            ),
        )

    return [
        narrowing("temperature", 0),
        narrowing("top_k", 1),
        narrowing("top_p", 1e-9),
        narrowing("min_p", 1),
        Probe(
            "max_tokens",
            ({**greedy, "max_tokens": 5}, {**greedy, "max_tokens": 9}),
            lambda given: [answer.num_tokens for answer in given] == [5, 9],
        ),
        Probe(
            "min_tokens",
            (ends, {**ends, "min_tokens": 4}),
            lambda given: [answer.num_tokens for answer in given] == [0, 4],
        ),
        Probe(
            "ignore_eos",
            (ends, {**ends, "ignore_eos": True}),
            lambda given: [answer.num_tokens for answer in given] == [0, MANY],
        ),
        Probe(
            "repetition_penalty",
            ({**greedy, "max_tokens": 40}, {**greedy, "max_tokens": 40, "repetition_penalty": 50}),
            lambda given: _most_repeated(given[1].text) < _most_repeated(given[0].text),
        ),
        Probe(
            "presence_penalty",
            (
                {**greedy, "logit_bias": letters},
                {**greedy, "logit_bias": letters, "presence_penalty": 60},
            ),
            # Eight letters stand out, and each may come once.
            lambda given: sorted(given[1].text) == list(LETTERS) != sorted(given[0].text),
        ),
        Probe(
            "frequency_penalty",
            (
                {**greedy, "logit_bias": two_letters},
                {**greedy, "logit_bias": two_letters, "frequency_penalty": 12},
            ),
            # Whichever came less often is next.
            lambda given: sorted(given[1].text) == ["a"] * 4 + ["b"] * 4 != sorted(given[0].text),
        ),
        Probe(
            "seed",
            ({**hot, "seed": 1}, {**hot, "seed": 1}, {**hot, "seed": 2}),
            lambda given: given[0].text == given[1].text != given[2].text,
        ),
        Probe(
            "logit_bias",
            ({**only_a, "logit_bias": {}, "seed": 1}, only_a),
            lambda given: given[1].text == "a" * MANY != given[0].text,
        ),
        Probe(
            "stop",
            (only_a, {**only_a, "stop": "aaa"}),
            lambda given: (
                [(answer.text, answer.reasons[0]) for answer in given]
                == [("a" * MANY, "length"), ("", "stop")]
            ),
        ),
        Probe(
            "stop_token_ids",
            (only_a, {**only_a, "stop_token_ids": [ids["a"]]}),
            lambda given: (
                [(answer.text, answer.reasons[0]) for answer in given]
                == [("a" * MANY, "length"), ("", "stop")]
            ),
        ),
        Probe(
            "n",
            ({**hot, "seed": 1}, {**hot, "seed": 1, "n": 3}),
            lambda given: (
                sorted(given[1].texts) == [0, 1, 2]
                and given[1].text == given[0].text
                and len(set(given[1].texts.values())) == 3
                and given[1].num_tokens == 3 * given[0].num_tokens
            ),
        ),
        Probe(
            "logprobs",
            (greedy, {**greedy, "logprobs": 2}),
            # The token itself stands among its two rivals or beside them.
            lambda given: (
                given[0].num_rivals == []
                and len(given[1].num_rivals) == MANY
                and set(given[1].num_rivals) <= {2, 3}
            ),
        ),
        Probe(
            "echo",
            (only_a, {**only_a, "echo": True}),
            lambda given: [answer.text for answer in given] == ["a" * MANY, "x" + "a" * MANY],
        ),
        *_probes_of_the_request(ids, only_a),
        *_probes_of_other_routes(ids),
    ]


def _probes_of_the_request(ids: Mapping[str, int], only_a: Body) -> list[Probe]:
    by_ids = {name: value for name, value in only_a.items() if name != "prompt"}
    special = {**only_a, "prompt": "ab<|endoftext|>"}
    slow = {**only_a, "max_tokens": 50}
    usage = "stream_options.include_usage"
    return [
        Probe(
            "model",
            (only_a, {**only_a, "model": OTHER_MODEL}, {**only_a, "model": "nobody"}),
            lambda given: (
                given[1].model.partition("@")[0] == OTHER_MODEL != given[0].model.partition("@")[0]
                and (given[2].code, given[2].fault) == ("model_not_found", "model")
            ),
        ),
        Probe(
            "prompt",
            ({**only_a, "prompt": "b"}, {**only_a, "prompt": "bcd"}),
            lambda given: [answer.num_prompt_tokens for answer in given] == [1, 3],
        ),
        Probe(
            "prompt_ids",
            (
                {**by_ids, "prompt_ids": [ids["b"]]},
                {**by_ids, "prompt_ids": [ids["b"], ids["c"], ids["d"]]},
            ),
            lambda given: [answer.num_prompt_tokens for answer in given] == [1, 3],
        ),
        Probe(
            "parse_special_tokens",
            (special, {**special, "parse_special_tokens": True}),
            lambda given: [answer.num_prompt_tokens for answer in given] == [15, 3],
        ),
        Probe(
            "timeout_seconds",
            (slow, {**slow, "timeout_seconds": 0.001}),
            lambda given: [answer.code for answer in given] == [None, "deadline_exceeded"],
        ),
        Probe(
            "stream",
            (only_a, {**only_a, "stream": True}),
            lambda given: (
                [answer.is_streamed for answer in given] == [False, True]
                and given[0].text == given[1].text
            ),
        ),
        Probe(
            usage,
            ({**only_a, usage: False}, {**only_a, usage: True}),
            lambda given: (
                [(each.num_usages, each.is_usage_alone) for each in given]
                == [(0, False), (1, True)]
            ),
        ),
        Probe(
            "stream_options.continuous_usage_stats",
            (
                {**only_a, usage: False},
                {**only_a, usage: False, "stream_options.continuous_usage_stats": True},
            ),
            lambda given: given[0].num_usages == 0 < given[1].num_usages,
        ),
        Probe(
            "best_of",
            ({**only_a, "best_of": 1}, {**only_a, "best_of": 2}),
            lambda given: [answer.fault for answer in given] == [None, "best_of"],
        ),
        Probe(
            "user",
            (only_a, {**only_a, "user": "somebody"}),
            # By definition it changes nothing, and the answer says so.
            lambda given: [answer.ignored for answer in given] == ["", "user"],
        ),
    ]


def _probes_of_other_routes(ids: Mapping[str, int]) -> list[Probe]:
    word = [ids["b"], ids["c"], ids["d"]]
    return [
        Probe(
            "text",
            ({"text": "b"}, {"text": "bcd"}),
            lambda given: (
                [(each.text, each.num_prompt_tokens) for each in given] == [("b", 1), ("bcd", 3)]
            ),
        ),
        Probe(
            "model",
            ({"text": "b", "model": OTHER_MODEL}, {"text": "b", "model": "nobody"}),
            lambda given: [answer.code for answer in given] == [None, "model_not_found"],
        ),
        Probe(
            "model",
            ({"ids": word, "model": OTHER_MODEL}, {"ids": word, "model": "nobody"}),
            lambda given: [answer.code for answer in given] == [None, "model_not_found"],
        ),
        Probe(
            "ids",
            ({"ids": word[:1]}, {"ids": word}),
            lambda given: [answer.text for answer in given] == ["b", "bcd"],
        ),
        *(
            Probe(
                name,
                ({name: OTHER_MODEL}, {name: "nobody"}),
                lambda given: (given[0].model, given[1].code) == (OTHER_MODEL, "model_not_found"),
            )
            for name in ("id", "model_id")
        ),
    ]


def _most_repeated(text: str) -> int:
    return max(Counter(text).values())
