"""The parts of the page that show text: samples, tokens as chips, the surprise of one sentence.

All of it comes from corpora and models, in any script: it is escaped by `markup` and isolated by
`dir="auto"`, so that no text turns its neighbours around.
"""

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from training.quantities import format_count, format_number
from training.report.markup import Markup, join, tag
from training.report.run_facts import RunFacts
from training.run_log.events import Sample, Surprise

MAX_SAMPLES = 6
NOTHING_WRITTEN = "(it ended the text at once)"
MAX_STRIPS = 6
_NUM_TOKEN_COLOURS = 5
# Lower ends of the colours of the heat strip, in bits.
_HEAT_STEPS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 13.0)


class _AtStep(Protocol):
    @property
    def step(self) -> int: ...


_AtStepType = TypeVar("_AtStepType", bound=_AtStep)


def spread(items: Sequence[_AtStepType], *, limit: int) -> list[_AtStepType]:
    """Returns at most `limit` items, first and last among them, denser at the start where most is
    learned."""
    if len(items) <= limit:
        return list(items)
    first, last = items[0].step, items[-1].step
    chosen: set[int] = {0, len(items) - 1}
    for index in range(1, limit - 1):
        # Evenly in the square root of the step.
        target = first + (last - first) * (index / (limit - 1)) ** 2
        free = [each for each in range(len(items)) if each not in chosen]
        chosen.add(min(free, key=lambda each: abs(items[each].step - target)))
    return [items[index] for index in sorted(chosen)]


def heat_level(bits: float) -> int:
    """Returns which colour of the heat strip a token's surprise gets: 0 (sure) to 7."""
    if math.isnan(bits):
        return len(_HEAT_STEPS) - 1
    return max(0, sum(bits >= step for step in _HEAT_STEPS) - 1)


def samples_section(facts: RunFacts) -> Markup | None:
    """How the model's writing changed, from the first sample to the last."""
    if not facts.samples:
        return None
    # Of several samples of one step the page shows the first: it is not a choice by quality.
    firsts = list({sample.step: sample for sample in reversed(facts.samples)}.values())[::-1]
    shown = spread(firsts, limit=MAX_SAMPLES)
    rest = [sample for sample in facts.samples if all(sample is not each for each in shown)]
    more = None
    if rest:
        more = tag(
            "details",
            tag("summary", f"{len(rest)} more samples"),
            tag("ol", *(_sample(sample, facts) for sample in rest), class_="samples"),
        )
    return tag(
        "section",
        tag("h2", "How it learned to write"),
        tag("p", "Unselected: the first sample of each step shown. The prompt is underlined."),
        tag("ol", *(_sample(sample, facts) for sample in shown), class_="samples"),
        more,
    )


def _sample(sample: Sample, facts: RunFacts) -> Markup:
    is_published = facts.best is not None and sample.step == facts.best.step
    measured = [each for each in facts.evaluations if each.step <= sample.step]
    about = [
        None if sample.temperature is None else f"temperature {sample.temperature:g}",
        None if sample.top_k is None else f"top-k {sample.top_k}",
        f"{format_number(measured[-1].bits_per_byte)} bits per byte" if measured else None,
    ]
    return tag(
        "li",
        tag(
            "p",
            tag("b", f"step {format_count(sample.step)}"),
            tag("span", "published weights", class_="published") if is_published else None,
            tag("span", " / ".join(text for text in about if text is not None)),
            class_="when",
        ),
        tag(
            "blockquote",
            tag("u", sample.prompt) if sample.prompt else None,
            sample.text or tag("em", NOTHING_WRITTEN),
            dir="auto",
        ),
    )


def tokens_section(facts: RunFacts) -> Markup | None:
    """The tokenizer's figures and examples of text cut into its tokens."""
    tokenizer = facts.tokenizer
    if tokenizer is None:
        return None
    rate = tokenizer.bytes_per_token
    words = f"Kind {tokenizer.tokenizer_kind}, {format_count(tokenizer.vocab_size)} tokens" + (
        "." if rate is None else f", {format_number(rate, digits=2)} bytes per token on average."
    )
    examples = [
        tag(
            "figure",
            tag("p", *_chips(tokens), class_="tokens", dir="auto"),
            tag("figcaption", _count_tokens(text, tokens)),
        )
        for text, tokens in tokenizer.examples
    ]
    return tag("section", tag("h2", "The tokenizer"), tag("p", words), *examples)


def _count_tokens(text: str, tokens: Sequence[str]) -> str:
    num_bytes = len(text.encode("utf-8", "surrogatepass"))
    return f"{format_count(num_bytes)} bytes in {format_count(len(tokens))} tokens"


def _chips(tokens: Sequence[str]) -> list[Markup]:
    return [
        tag("span", _visible_spaces(token), class_=f"t{index % _NUM_TOKEN_COLOURS}")
        for index, token in enumerate(tokens)
    ]


def _visible_spaces(token: str) -> Markup:
    """Spaces at the ends and line feeds decide where tokens begin: they are drawn, faintly."""
    body = token.strip(" \n")
    if not body:
        return _drawn(token)
    begin = token.index(body)
    return join([_drawn(token[:begin]), body, _drawn(token[begin + len(body) :])])


def _drawn(spaces: str) -> Markup:
    if not spaces:
        return Markup("")
    return tag("i", spaces.replace(" ", "\u00b7").replace("\n", "\u21b5"))


def surprise_section(facts: RunFacts) -> Markup | None:
    """One fixed sentence at several steps: each token coloured by how much it surprised the
    model."""
    if not facts.surprises:
        return None
    # One sentence is followed: the one of the last measurement.
    followed = [each for each in facts.surprises if each.text == facts.surprises[-1].text]
    strips = [_strip(each) for each in spread(followed, limit=MAX_STRIPS) if each.bits]
    if not strips:
        return None
    return tag(
        "section",
        tag("h2", "One sentence, more and more expected"),
        tag(
            "p",
            "The bits that each token of the same sentence cost the model as it learned. "
            "1 bit is the surprise of a coin toss, 10 bits that of a one-in-a-thousand event.",
        ),
        _legend(),
        tag("ol", *strips, class_="strips"),
    )


def _strip(surprise: Surprise) -> Markup:
    total = sum(surprise.bits)
    mean = total / len(surprise.bits)
    tokens = [
        tag(
            "span",
            tag("span", _visible_spaces(token), class_="token"),
            tag("small", _bits(bits)),
            class_=f"h{heat_level(bits)}",
        )
        for token, bits in zip(surprise.tokens, surprise.bits, strict=True)
    ]
    return tag(
        "li",
        tag(
            "p",
            tag("b", f"step {format_count(surprise.step)}"),
            tag(
                "span",
                f"{format_number(mean, digits=2)} bits per token / "
                f"{format_number(total, digits=0)} bits in all",
            ),
            class_="when",
        ),
        tag("p", *tokens, class_="heat", dir="auto"),
    )


def _bits(bits: float) -> str:
    return format_number(bits, digits=1) if math.isfinite(bits) else "?"


def _legend() -> Markup:
    ends = [*(f"{step:g}" for step in _HEAT_STEPS[1:]), None]
    keys = [
        tag(
            "li",
            f"{step:g}+" if end is None else f"{step:g} to {end}",
            class_=f"h{level}",
        )
        for level, (step, end) in enumerate(zip(_HEAT_STEPS, ends, strict=True))
    ]
    return tag(
        "div",
        tag("span", "bits per token"),
        tag("ul", *keys),
        class_="legend",
    )
