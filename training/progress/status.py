"""Where a run stands right now, gathered from its events: what the bar shows and the metrics port
answers.

Written by the training thread only. Other threads (the bar's refresh, the metrics port) read
single attributes, which is safe without a lock; two attributes may be one event apart.
"""

import math

from training.run_log.events import (
    CorpusRead,
    End,
    Evaluation,
    Event,
    NgramTrained,
    Resume,
    Start,
    Step,
)

# One step's weight in the smoothed figures: about the last ten steps count.
_SMOOTHING = 0.1


class RunStatus:
    """The newest figures of a run. None means that nothing is known yet."""

    def __init__(self) -> None:
        self.start: Start | None = None
        self.step: Step | None = None
        self.evaluation: Evaluation | None = None
        self.best: Evaluation | None = None
        self.ngram: NgramTrained | None = None
        self.end: End | None = None
        self.train_tokens: int | None = None
        self.smoothed_loss: float | None = None
        self._seconds_per_step: float | None = None
        self._evaluations: list[Evaluation] = []
        self._is_origin_known = True

    def apply(self, event: Event) -> None:
        """Takes in one event."""
        match event:
            case Start():
                self.start, self.end = event, None
                self._is_origin_known = False
            case CorpusRead():
                self.train_tokens = event.train_tokens
            case NgramTrained():
                self.ngram = event
            case Step():
                self._go_back_unless_resumed()
                self._apply_step(event)
            case Evaluation():
                self._go_back_unless_resumed()
                self._evaluations.append(event)
                self._choose_evaluations()
            case Resume():
                self._go_back_to(event.step)
            case End():
                self.end = event
            case _:
                pass

    @property
    def remaining_seconds(self) -> float | None:
        """Time to the planned last step at the present rate, evaluations included; None until a
        rate is known."""
        if self.step is None or not self.step.num_steps or self._seconds_per_step is None:
            return None
        return max(0, self.step.num_steps - self.step.step) * self._seconds_per_step

    @property
    def epochs(self) -> float | None:
        """How often the training text has been seen; None where its size is unknown."""
        if self.step is None or not self.train_tokens:
            return None
        return self.step.tokens / self.train_tokens

    def _go_back_unless_resumed(self) -> None:
        """A session whose first figures come without a `resume` began from nothing, as the log's
        reader has it."""
        if not self._is_origin_known:
            self._go_back_to(-1)

    def _go_back_to(self, step: int) -> None:
        self._is_origin_known = True
        self._evaluations = [earlier for earlier in self._evaluations if earlier.step <= step]
        self._choose_evaluations()
        # The rates of the earlier session say nothing about this one.
        self.step, self.smoothed_loss, self._seconds_per_step = None, None, None

    def _choose_evaluations(self) -> None:
        self.evaluation = self._evaluations[-1] if self._evaluations else None
        best = [evaluation for evaluation in self._evaluations if evaluation.is_best]
        self.best = best[-1] if best else None

    def _apply_step(self, step: Step) -> None:
        previous = self.step
        self.step = step
        if math.isfinite(step.loss):
            self.smoothed_loss = _smooth(self.smoothed_loss, step.loss)
        if previous is not None and step.step > previous.step:
            seconds = step.elapsed_seconds - previous.elapsed_seconds
            self._seconds_per_step = _smooth(
                self._seconds_per_step, max(0.0, seconds) / (step.step - previous.step)
            )


def _smooth(previous: float | None, value: float) -> float:
    return value if previous is None else previous + _SMOOTHING * (value - previous)
