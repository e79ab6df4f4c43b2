"""The report as one HTML page that needs nothing else: no scripts, no network, no files beside
it."""

import re
from importlib.resources import files

from training.quantities import (
    format_bytes,
    format_count,
    format_duration,
    format_number,
    format_short,
)
from training.report.background import (
    corpus_section,
    glossary,
    notes_section,
    settings_section,
)
from training.report.charts import loss_chart, pace_chart, top_of_loss_chart
from training.report.drawing import inline_svg
from training.report.markup import Markup, tag
from training.report.remarks import remarks
from training.report.run_facts import RunFacts, perplexity
from training.report.tables import table
from training.report.texts import samples_section, surprise_section, tokens_section

# Even a text that got past the escaping could load nothing and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def report_page(facts: RunFacts, *, command: str | None) -> str:
    """Returns the page.

    Args:
        facts: the run.
        command: the exact command; None takes the one in the log.
    """
    style = files("training.report").joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{facts.name}: training report"),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        _header(facts),
        tag(
            "main",
            _remarks_section(facts),
            _curve_section(facts),
            samples_section(facts),
            surprise_section(facts),
            corpus_section(facts),
            tokens_section(facts),
            _pace_section(facts),
            notes_section(facts),
            settings_section(facts, command),
            glossary(),
        ),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en').html}\n"


def _header(facts: RunFacts) -> Markup:
    return tag(
        "header",
        tag("p", "Training report", class_="eyebrow"),
        tag("h1", facts.name, dir="auto"),
        tag("p", _unbroken(_summary(facts)), class_="lead"),
        tag("ul", *_tiles(facts), class_="tiles"),
    )


def _summary(facts: RunFacts) -> str:
    start, corpus, last = facts.start, facts.corpus, facts.last_step
    model = "A model"
    if start is not None and start.parameters is not None:
        model = f"A model of {format_short(start.parameters)} parameters"
    text = "" if corpus is None else f" learned from {format_bytes(corpus.bytes)} of text"
    if last is None:
        return f"{model} was to be trained{text.replace('learned ', '')}; no step was finished."
    time = facts.elapsed_seconds
    duration = "" if time is None else f" in {format_duration(time)}"
    ended = "" if facts.end is None else f" It ended because: {facts.end.reason.rstrip('.')}."
    return f"{model}{text}, {format_count(last.step)} steps{duration}.{ended}"


def _unbroken(text: str) -> str:
    """Keeps a number and its unit on one line."""
    return re.sub(r"(?<=\d) (?=(?:s|min|h|d|[kMGT]?B|[kMGT])\b)", "\u00a0", text)


def _tiles(facts: RunFacts) -> list[Markup]:
    best, ngram, saving = facts.best, facts.ngram, facts.saving_over_ngram
    tiles: list[Markup] = []
    if best is not None:
        if saving is None or ngram is None:
            beside = "held-out text, at its best"
        else:
            word = "below" if saving >= 0 else "above"
            share = format_number(abs(100 * saving), digits=1)
            beside = f"{share} % {word} the n-gram's {format_number(ngram.bits_per_byte)}"
        tiles += [
            _tile(format_number(best.bits_per_byte), "bits per byte", beside, is_main=True),
            _tile(
                format_number(best.loss),
                "nats per token",
                f"best at step {format_count(best.step)}",
            ),
            _tile(
                format_number(perplexity(best), digits=1), "perplexity", "per token, held-out text"
            ),
        ]
    if facts.elapsed_seconds is not None:
        device = None if facts.start is None else facts.start.device
        tiles.append(
            _tile(
                format_duration(facts.elapsed_seconds),
                "wall time",
                "all sessions" if device is None else f"on {device}",
            )
        )
    if facts.tokens is not None and facts.tokens_per_second is not None:
        tiles.append(
            _tile(
                format_short(facts.tokens_per_second),
                "tokens per second",
                f"{format_short(facts.tokens)} tokens seen",
            )
        )
    return tiles


def _tile(value: str, unit: str, beside: str, *, is_main: bool = False) -> Markup:
    return tag(
        "li",
        tag("span", value, class_="value"),
        tag("span", unit, class_="unit"),
        tag("span", beside, class_="beside"),
        class_="main" if is_main else None,
    )


def _remarks_section(facts: RunFacts) -> Markup | None:
    sentences = remarks(facts)
    if not sentences:
        return None
    items = [tag("li", sentence, dir="auto") for sentence in sentences]
    return tag("section", tag("h2", "Read this first"), tag("ul", *items), class_="remarks")


def _curve_section(facts: RunFacts) -> Markup | None:
    chart = loss_chart(facts)
    if chart is None:
        return None
    words = ["How surprised the model is by the text, per token. Lower is better."]
    if facts.ngram is not None:
        words.append(
            "The dashed line is what counting word sequences reaches on the same held-out text: "
            "the line to beat."
        )
    top = top_of_loss_chart(facts)
    if top is not None and facts.steps and facts.steps[0].loss > top:
        words.append(
            f"The training loss begins at {format_number(facts.steps[0].loss)}, above the picture."
        )
    return tag(
        "section",
        tag("h2", "Learning curve"),
        tag("p", " ".join(words)),
        inline_svg(chart),
        _evaluations_table(facts),
    )


def _evaluations_table(facts: RunFacts) -> Markup | None:
    if not facts.evaluations:
        return None
    best = facts.best
    rows = [
        [
            format_count(each.step),
            format_number(each.loss),
            format_number(each.bits_per_byte),
            format_number(perplexity(each), digits=1),
            "" if each.train_loss is None else format_number(each.train_loss),
            "" if each.elapsed_seconds is None else format_duration(each.elapsed_seconds),
        ]
        for each in facts.evaluations
    ]
    heads = ["step", "held out, nats", "bits per byte", "perplexity", "train, nats", "time"]
    marked = [each is best for each in facts.evaluations]
    return tag(
        "details",
        tag("summary", f"All {len(rows)} measurements as numbers"),
        table(heads, rows, marked=marked),
    )


def _pace_section(facts: RunFacts) -> Markup | None:
    chart = pace_chart(facts)
    if chart is None:
        return None
    return tag("section", tag("h2", "Schedule and pace"), inline_svg(chart))
