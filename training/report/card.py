"""The model card: README.md of a published model, from the same facts as the report, with the front
matter that model hubs read. Facts and limits, no promises.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from training.quantities import (
    format_bytes,
    format_count,
    format_duration,
    format_number,
    format_short,
)
from training.report.front_matter import front_matter
from training.report.markdown import code, fenced, inline
from training.report.remarks import remarks
from training.report.run_facts import RunFacts, perplexity, read_run_facts
from training.report.texts import NOTHING_WRITTEN
from training.run_log.events import Sample

_MIN_SAMPLES = 3
_MAX_SAMPLES = 10
_UNSTATED = (
    "Nobody has stated the status of these texts. Find out before you pass the model on: it can "
    "repeat passages of them."
)


def model_card(
    log_path: Path,
    *,
    text_status: str | None = None,
    license_id: str = "other",
    command: str | None = None,
    picture: PurePosixPath | None = None,
    files: Mapping[str, int] | None = None,
) -> str:
    """Returns README.md for the folder of a published model.

    Args:
        log_path: run/log.jsonl of the run.
        text_status: what the user says about the texts (source, rights), word for word.
        license_id: the model hub's identifier; "other" where the user chose none, since the texts
            decide and only the user knows them.
        command: the exact command; None takes the one in the log.
        picture: the loss curve, relative to the card; None shows none.
        files: what lies beside the card, with sizes in bytes.

    Raises:
        EventLogError: the log cannot be read.
    """
    facts = read_run_facts(log_path)
    sections = [
        front_matter(facts, license_id=license_id),
        f"# {inline(facts.name)}",
        _introduction(facts),
        *([f"![Loss over the training steps]({picture})"] if picture is not None else []),
        *_section("Numbers", _numbers(facts)),
        *_section("Samples", _samples(facts)),
        *_section("Intended use", _intended_use()),
        *_section("Limits", _limits(facts)),
        *_section("Training text", _texts(facts, text_status)),
        *_section("How it was made", _making(facts, command)),
        *_section("How to serve it", _serving()),
        *_section("Files", _file_list(files)),
    ]
    return "\n\n".join(sections) + "\n"


def _introduction(facts: RunFacts) -> str:
    start, corpus = facts.start, facts.corpus
    size = text = parent = ""
    if start is not None and start.parameters is not None:
        size = f" of {format_short(start.parameters)} parameters"
    if corpus is not None:
        text = f", trained on {format_bytes(corpus.bytes)} of text ({inline(corpus.description)})"
    if start is not None and start.parent is not None:
        name = start.parent if isinstance(start.parent, str) else json.dumps(start.parent)
        parent = f" It continues from {code(name)}."
    return (
        f"A small Llama-shaped language model{size}{text}. It continues text; it was not taught to "
        f"follow instructions or to hold a conversation.{parent}"
    )


def _numbers(facts: RunFacts) -> str:
    best, ngram, start, tokenizer = facts.best, facts.ngram, facts.start, facts.tokenizer
    rows: list[tuple[str, str]] = []
    if start is not None and start.parameters is not None:
        rows.append(("parameters", format_count(start.parameters)))
    if tokenizer is not None:
        kind = inline(tokenizer.tokenizer_kind)
        rows.append(("vocabulary", f"{format_count(tokenizer.vocab_size)} tokens ({kind})"))
    if best is not None:
        rows += [
            ("held out, bits per byte", format_number(best.bits_per_byte)),
            ("held out, nats per token", format_number(best.loss)),
            ("held out, perplexity per token", format_number(perplexity(best), digits=2)),
            ("best step", format_count(best.step)),
        ]
    if ngram is not None:
        rows.append(
            (
                f"its n-gram model of order {ngram.order}, same text, bits per byte",
                format_number(ngram.bits_per_byte),
            )
        )
    if facts.saving_over_ngram is not None:
        saving = facts.saving_over_ngram
        word = "below" if saving >= 0 else "above"
        rows.append(
            (
                "against the n-gram model",
                f"{format_number(abs(100 * saving), digits=1)} % {word} it",
            )
        )
    table = ["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)]
    if best is None:
        return "\n".join([*table, "", "The held-out text was never measured."])
    return "\n".join([*table, "", *_measured_on(facts)])


def _measured_on(facts: RunFacts) -> Iterator[str]:
    corpus = facts.corpus
    if corpus is not None and corpus.held_out_bytes is not None:
        yield (
            f"Measured on {format_bytes(corpus.held_out_bytes)} of held-out text that training "
            "never saw; the step was chosen on the same text. Bits per byte compare models with "
            "different tokenizers."
        )
    else:
        yield "Bits per byte compare models with different tokenizers."


def _samples(facts: RunFacts) -> str:
    chosen = _samples_near_best(facts)
    if not chosen:
        return ""
    words = ["Unselected: taken in the order in which they were drawn, prompts included."]
    if facts.best is not None:
        words.append(f"The published weights are those of step {format_count(facts.best.step)}.")
    blocks = [" ".join(words)]
    for sample in chosen:
        about = [
            f"step {format_count(sample.step)}",
            *([f"temperature {sample.temperature:g}"] if sample.temperature is not None else []),
            *([f"top-k {sample.top_k}"] if sample.top_k is not None else []),
            *([f"seed {sample.seed}"] if sample.seed is not None else []),
        ]
        blocks.append(
            f"{', '.join(about)}:\n\n{fenced(sample.prompt + (sample.text or NOTHING_WRITTEN))}"
        )
    return "\n\n".join(blocks)


def _samples_near_best(facts: RunFacts) -> Sequence[Sample]:
    """The first samples of the published step, and of as many steps near it as three samples
    need."""
    last = 0 if facts.last_step is None else facts.last_step.step
    published = last if facts.best is None else facts.best.step
    chosen: list[Sample] = []
    for step in sorted(
        {each.step for each in facts.samples}, key=lambda each: abs(each - published)
    ):
        if len(chosen) >= _MIN_SAMPLES:
            break
        chosen += [sample for sample in facts.samples if sample.step == step]
    return chosen[:_MAX_SAMPLES]


def _intended_use() -> str:
    return (
        "Learning, teaching and playing with how a language model comes about and how it chooses "
        "its next word. It is not meant for decisions, for facts, or for a public product."
    )


def _limits(facts: RunFacts) -> str:
    general = [
        "What it writes is invented, however sure it sounds.",
        "It knows only its training text: that text's language, time, opinions and insults.",
        "It can repeat passages of its training text word for word.",
    ]
    return "\n".join(f"- {inline(line)}" for line in [*general, *remarks(facts)])


def _texts(facts: RunFacts, text_status: str | None) -> str:
    corpus = facts.corpus
    parts: list[str] = []
    if corpus is not None:
        lines = [
            f"- {inline(corpus.description)}",
            f"- {format_count(corpus.documents)} documents, {format_bytes(corpus.bytes)}",
            *(
                f"- removed: {inline(rule)}, {format_bytes(size)}"
                for rule, size in corpus.removed_bytes.items()
            ),
            *([f"- SHA-256 of the cleaned text: `{corpus.sha256}`"] if corpus.sha256 else []),
        ]
        parts.append("\n".join(lines))
    if text_status is None:
        parts.append(_UNSTATED)
    else:
        parts.append(f"Status, as stated by whoever trained the model: {inline(text_status)}")
    return "\n\n".join(parts)


def _making(facts: RunFacts, command: str | None) -> str:
    commands = [each.command for each in facts.starts] if command is None else [command]
    parts = [fenced("\n".join(dict.fromkeys(commands)), language="sh")] if commands else []
    words: list[str] = []
    if facts.last_step is not None:
        words.append(f"{format_count(facts.last_step.step)} steps")
    if facts.tokens is not None:
        words.append(f"{format_short(facts.tokens)} tokens")
    if facts.epochs is not None:
        words.append(f"{format_number(facts.epochs, digits=1)} passes over the text")
    if facts.elapsed_seconds is not None:
        words.append(format_duration(facts.elapsed_seconds))
    if facts.start is not None and facts.start.device is not None:
        words.append(f"on {inline(facts.start.device)}")
    if words:
        parts.append(", ".join(words) + ".")
    return "\n\n".join(parts)


def _serving() -> str:
    return "\n\n".join(
        [
            "In this folder:",
            fenced("nextword-serve --model .", language="sh"),
            "It is an ordinary Llama folder, which `transformers` loads too:",
            fenced(
                "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
                'model = AutoModelForCausalLM.from_pretrained(".")\n'
                'tokenizer = AutoTokenizer.from_pretrained(".")',
                language="python",
            ),
        ]
    )


def _file_list(files: Mapping[str, int] | None) -> str:
    return "\n".join(
        f"- {code(name)}, {format_bytes(size)}" for name, size in (files or {}).items()
    )


def _section(title: str, body: str) -> list[str]:
    return [f"## {title}", body] if body else []
