"""The parts of the page that stay the same while a run goes on: text, settings, meaning of
numbers."""

from collections.abc import Sequence

from training.quantities import format_bytes, format_count, format_duration
from training.report.markup import Markup, join, tag
from training.report.run_facts import RunFacts
from training.report.tables import fact_list, flatten

_MEANINGS = {
    "Nats per token": "Minus the natural logarithm of the probability that the model gave to the "
    "token that really came next, averaged. It depends on how long tokens are.",
    "Perplexity": "e to that power: the model is as unsure as if it chose among so many equally "
    "likely tokens.",
    "Bits per byte": "The same surprise in bits, spread over the bytes of the text. It does not "
    "depend on the tokenizer, so it compares models; a plain text file uses 8.",
    "Held-out text": "Documents or passages that the training never saw.",
}


def corpus_section(facts: RunFacts) -> Markup | None:
    """What was read, cleaned and split."""
    corpus = facts.corpus
    if corpus is None:
        return None
    sizes = {
        "Text": corpus.description,
        "Documents": format_count(corpus.documents),
        "Size": format_bytes(corpus.bytes),
        "For training": _size(corpus.train_bytes, corpus.train_tokens),
        "Held out": _size(corpus.held_out_bytes, corpus.held_out_tokens),
        "SHA-256": corpus.sha256,
        **{f"Removed: {rule}": format_bytes(size) for rule, size in corpus.removed_bytes.items()},
    }
    return tag("section", tag("h2", "The text"), fact_list(sizes), _list(corpus.notes))


def notes_section(facts: RunFacts) -> Markup | None:
    """What the run said about itself on the way."""
    if not facts.notes:
        return None
    return tag("section", tag("h2", "Notes of the run"), _list(facts.notes))


def _list(sentences: Sequence[str]) -> Markup | None:
    if not sentences:
        return None
    return tag("ul", *(tag("li", sentence, dir="auto") for sentence in sentences), class_="notes")


def _size(num_bytes: int | None, num_tokens: int | None) -> str | None:
    if num_bytes is None:
        return None if num_tokens is None else f"{format_count(num_tokens)} tokens"
    tokens = "" if num_tokens is None else f", {format_count(num_tokens)} tokens"
    return f"{format_bytes(num_bytes)}{tokens}"


def settings_section(facts: RunFacts, command: str | None) -> Markup | None:
    """What someone needs to make the same model again."""
    start = facts.start
    commands = [each.command for each in facts.starts] if command is None else [command]
    blocks = [tag("pre", tag("code", each)) for each in dict.fromkeys(commands)]
    if start is None:
        return tag("section", tag("h2", "Command"), *blocks) if blocks else None
    ngram = facts.ngram
    machine = {
        "Device": start.device,
        "Numbers": start.dtype,
        "PyTorch": start.torch_version,
        "Threads": None if start.num_threads is None else format_count(start.num_threads),
        "Compiled": None if start.is_compiled is None else "yes" if start.is_compiled else "no",
        "Started": facts.begin_time,
        "Parent": None
        if start.parent is None
        else ", ".join(f"{key} {value}".strip() for key, value in flatten("", start.parent)),
        "n-gram": None
        if ngram is None
        else f"order {ngram.order}"
        + ("" if ngram.size_bytes is None else f", {format_bytes(ngram.size_bytes)}")
        + ("" if ngram.seconds is None else f", counted in {format_duration(ngram.seconds)}"),
    }
    groups = (("Shape of the model", start.model_config), ("All settings", start.settings))
    details = [
        tag(
            "details",
            tag("summary", title),
            fact_list(dict(flatten("", values)), class_="settings"),
        )
        for title, values in groups
        if values
    ]
    return tag(
        "section", tag("h2", "How to make it again"), *blocks, fact_list(machine), join(details)
    )


def glossary() -> Markup:
    """The measures in plain words."""
    return tag(
        "section", tag("h2", "What the numbers mean"), fact_list(_MEANINGS), class_="glossary"
    )
