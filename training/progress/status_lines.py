"""The words in which a terminal or a CI log hears about a run: one function for each kind of news.

Pure text: no colours, no cursor, no clock. Facts that belong on one line stay there; the displays
escape control characters in whatever they print.
"""

from training.printable import printable_line
from training.progress.status import RunStatus
from training.quantities import (
    format_bytes,
    format_clock,
    format_count,
    format_duration,
    format_number,
    format_short,
)
from training.run_log.events import (
    CorpusRead,
    End,
    Evaluation,
    Event,
    NgramTrained,
    Note,
    Resume,
    Sample,
    Step,
    TokenizerTrained,
)


def describe_event(event: Event, status: RunStatus) -> str | None:
    """Returns what to print for an event, perhaps several lines; None for events that only move
    the bar."""
    match event:
        case CorpusRead():
            return _describe_corpus(event)
        case TokenizerTrained():
            rate = event.bytes_per_token
            suffix = "" if rate is None else f", {format_number(rate, digits=2)} bytes per token"
            kind, size = printable_line(event.tokenizer_kind), format_count(event.vocab_size)
            return f"tokenizer: {kind}, {size} tokens{suffix}"
        case NgramTrained():
            bits = format_number(event.bits_per_byte)
            return f"n-gram of order {event.order}: {bits} bits/byte held out, the line to beat"
        case Evaluation():
            return _describe_evaluation(event, status)
        case Sample():
            return _describe_sample(event)
        case Resume():
            return f"resumed from the checkpoint of step {format_count(event.step)}"
        case Note():
            return f"note: {printable_line(event.text)}"
        case End():
            return _describe_end(event)
        case _:
            return None


def progress_parts(status: RunStatus) -> list[str]:
    """Returns the figures of the newest step, the most important first; a narrow terminal shows
    fewer."""
    step = status.step
    if step is None:
        return []
    loss = (
        step.loss
        if status.smoothed_loss is None or step.loss != step.loss
        else status.smoothed_loss
    )
    parts = [f"loss {format_number(loss)}"]
    if status.evaluation is not None:
        parts.append(f"held out {_bits_beside_ngram(status.evaluation, status)}")
    parts.append(f"{format_short(step.tokens_per_second)} tokens/s")
    if status.epochs is not None:
        parts.append(f"epoch {format_number(status.epochs, digits=2)}")
    return parts


def step_label(step: Step) -> str:
    """Returns "step 5/100", or "step 5" while the number of steps is not yet known."""
    planned = f"/{format_count(step.num_steps)}" if step.num_steps else ""
    return f"step {format_count(step.step)}{planned}"


def plain_step(step: Step, status: RunStatus) -> str:
    """Returns the line that a pipe or CI log gets every few seconds."""
    share = f" ({100 * step.step // step.num_steps} %)" if step.num_steps else ""
    count = f"{step_label(step)}{share}"
    times = [f"elapsed {format_clock(step.elapsed_seconds)}"]
    if status.remaining_seconds is not None:
        times.append(f"ETA {format_clock(status.remaining_seconds)}")
    return "  ".join([count, *progress_parts(status), *times])


def _bits_beside_ngram(evaluation: Evaluation, status: RunStatus) -> str:
    bits = f"{format_number(evaluation.bits_per_byte)} bits/byte"
    if status.ngram is None:
        return bits
    return f"{bits} (n-gram {format_number(status.ngram.bits_per_byte)})"


def _describe_corpus(corpus: CorpusRead) -> str:
    lines = [
        f"corpus: {printable_line(corpus.description)}, "
        f"{format_count(corpus.documents)} document{'' if corpus.documents == 1 else 's'}, "
        f"{format_bytes(corpus.bytes)}"
    ]
    lines += [
        f"  removed {format_bytes(size)}: {printable_line(rule)}"
        for rule, size in corpus.removed_bytes.items()
    ]
    return "\n".join(lines)


def _describe_evaluation(event: Evaluation, status: RunStatus) -> str:
    mark = "  best so far" if event.is_best else ""
    return (
        f"step {format_count(event.step)}: held out {format_number(event.loss)} nats/token, "
        f"{_bits_beside_ngram(event, status)}{mark}"
    )


def _describe_sample(event: Sample) -> str:
    settings = [f"step {format_count(event.step)}"]
    if event.temperature is not None:
        settings.append(f"temperature {event.temperature:g}")
    if event.top_k is not None:
        settings.append(f"top-k {event.top_k}")
    text = event.prompt + event.text
    body = "\n".join(f"  | {line}" for line in text.split("\n"))
    return f"sample ({', '.join(settings)}):\n{body}"


def _describe_end(event: End) -> str:
    time = "" if event.elapsed_seconds is None else f" in {format_duration(event.elapsed_seconds)}"
    line = f"ended after {format_count(event.steps)} steps{time}: {printable_line(event.reason)}"
    if event.best_step is None or event.best_bits_per_byte is None or event.best_loss is None:
        return f"{line}\nthe held-out text was never measured"
    return (
        f"{line}\nbest at step {format_count(event.best_step)}: "
        f"{format_number(event.best_loss)} nats/token, "
        f"{format_number(event.best_bits_per_byte)} bits/byte held out"
    )
