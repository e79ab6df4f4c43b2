"""The facts of one run, gathered from its log: the only source of the page, the pictures and the
card.

Everything may be missing but the log itself: a run can be stopped before its first step, before its
first evaluation, or killed without a last word. What is missing is None or empty here, never
invented.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from training.run_log.events import (
    CorpusRead,
    End,
    Evaluation,
    Event,
    LogGap,
    NgramTrained,
    Note,
    Resume,
    Sample,
    Start,
    Step,
    Surprise,
    TokenizerTrained,
)
from training.run_log.log import EventHistory, read_history

_EventType = TypeVar("_EventType", bound=Event)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as its log tells it, superseded events left out.

    Attributes:
        starts: one for each session, the first being the original command.
        begin_time: ISO 8601 time of the first event, None for an empty log.
        num_missing_events: events that could not be written while the log's disk was full.
    """

    starts: tuple[Start, ...]
    corpus: CorpusRead | None
    tokenizer: TokenizerTrained | None
    ngram: NgramTrained | None
    steps: tuple[Step, ...]
    evaluations: tuple[Evaluation, ...]
    samples: tuple[Sample, ...]
    surprises: tuple[Surprise, ...]
    resumed_steps: tuple[int, ...]
    notes: tuple[str, ...]
    end: End | None
    begin_time: str | None
    num_missing_events: int
    num_superseded_steps: int
    num_unreadable_lines: int

    @property
    def start(self) -> Start | None:
        """The session that the newest figures come from."""
        return self.starts[-1] if self.starts else None

    @property
    def name(self) -> str:
        return self.starts[-1].name if self.starts else "unnamed run"

    @property
    def best(self) -> Evaluation | None:
        """The evaluation whose weights were kept: the newest marked best, else the lowest finite
        loss."""
        marked = [evaluation for evaluation in self.evaluations if evaluation.is_best]
        if marked:
            return marked[-1]
        finite = [each for each in self.evaluations if math.isfinite(each.loss)]
        return min(finite, key=lambda each: each.loss) if finite else None

    @property
    def train_loss_at_best(self) -> float | None:
        """Loss on the training text at the best point: measured there, else the mean before it.

        Dropout makes the mean of the steps somewhat higher than a measurement would be.
        """
        if self.best is None or self.best.train_loss is not None:
            return None if self.best is None else self.best.train_loss
        before = [step.loss for step in self.steps if step.step <= self.best.step]
        newest = [loss for loss in before[-max(1, len(before) // 20) :] if math.isfinite(loss)]
        return sum(newest) / len(newest) if newest else None

    @property
    def last_step(self) -> Step | None:
        return self.steps[-1] if self.steps else None

    @property
    def first_bad_step(self) -> Step | None:
        """The first step whose loss is not finite."""
        return next((step for step in self.steps if not math.isfinite(step.loss)), None)

    @property
    def elapsed_seconds(self) -> float | None:
        """Wall time of all sessions as the trainer counted it."""
        if self.end is not None and self.end.elapsed_seconds is not None:
            return self.end.elapsed_seconds
        return None if self.last_step is None else self.last_step.elapsed_seconds

    @property
    def tokens(self) -> int | None:
        """Training tokens seen."""
        if self.end is not None and self.end.tokens is not None:
            return self.end.tokens
        return None if self.last_step is None else self.last_step.tokens

    @property
    def epochs(self) -> float | None:
        """How often the training text was seen."""
        if self.tokens is None or self.corpus is None or not self.corpus.train_tokens:
            return None
        return self.tokens / self.corpus.train_tokens

    @property
    def tokens_per_second(self) -> float | None:
        """The trainer's own figure, else the median over the steps (compiling makes the first ones
        slow)."""
        if self.end is not None and self.end.tokens_per_second is not None:
            return self.end.tokens_per_second
        rates = sorted(step.tokens_per_second for step in self.steps)
        return rates[len(rates) // 2] if rates else None

    @property
    def bits_per_byte_per_nat(self) -> float | None:
        """Factor from nats per token to bits per byte on the held-out text: one for all models
        there."""
        best = self.best
        if best is not None and best.loss > 0 and math.isfinite(best.bits_per_byte):
            return best.bits_per_byte / best.loss
        if self.ngram is not None and self.ngram.nats_per_token > 0:
            return self.ngram.bits_per_byte / self.ngram.nats_per_token
        return None

    @property
    def saving_over_ngram(self) -> float | None:
        """Share of the n-gram's bits that the model saves at its best; negative where the n-gram
        is better."""
        if self.best is None or self.ngram is None or not self.ngram.bits_per_byte > 0:
            return None
        return 1 - self.best.bits_per_byte / self.ngram.bits_per_byte


def read_run_facts(log_path: Path) -> RunFacts:
    """Reads a run's log.

    Raises:
        EventLogError: the log cannot be read or holds lines that are not ours.
    """
    return gather_run_facts(read_history(log_path))


def gather_run_facts(history: EventHistory) -> RunFacts:
    """Sorts the events of a log by kind; of one-time events the newest counts."""
    events = [timed.event for timed in history.events]
    return RunFacts(
        starts=_all(events, Start),
        corpus=_newest(events, CorpusRead),
        tokenizer=_newest(events, TokenizerTrained),
        ngram=_newest(events, NgramTrained),
        steps=_all(events, Step),
        evaluations=_all(events, Evaluation),
        samples=_all(events, Sample),
        surprises=_all(events, Surprise),
        resumed_steps=tuple(resume.step for resume in _all(events, Resume)),
        notes=tuple(dict.fromkeys(note.text for note in _all(events, Note))),
        end=_newest(events, End),
        begin_time=history.events[0].time if history.events else None,
        num_missing_events=sum(gap.events for gap in _all(events, LogGap)),
        num_superseded_steps=history.num_superseded_steps,
        num_unreadable_lines=history.num_unreadable_lines,
    )


def perplexity(evaluation: Evaluation) -> float:
    """The logged perplexity, else e to the power of the loss."""
    if evaluation.perplexity is not None:
        return evaluation.perplexity
    try:
        return math.exp(evaluation.loss)
    except OverflowError:
        return math.inf


def _all(events: Sequence[Event], kind: type[_EventType]) -> tuple[_EventType, ...]:
    return tuple(event for event in events if isinstance(event, kind))


def _newest(events: Sequence[Event], kind: type[_EventType]) -> _EventType | None:
    found = _all(events, kind)
    return found[-1] if found else None
