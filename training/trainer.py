"""The training loop: update, evaluate, keep the best, checkpoint, stop for a reason.

Reads top to bottom in ``Trainer.run``. It knows arrays of tokens, a model and a folder for
checkpoints; corpora, tokenizers and artifacts are the business of ``training.job``.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.checkpoint import CheckpointStore
from training.computation import Computation
from training.config import TrainingConfig
from training.dataset import TokenFiles, TrainingWindows
from training.evaluate import TextScore, score_tokens
from training.optimizer import Optimizer
from training.parallel import Processes
from training.progress import Progress
from training.schedule import StepClock, rate_scale
from training.stop_request import StopRequest
from training.training_state import TrainingState, collect_tensors, restore_tensors

__all__ = ["NotFiniteError", "Outcome", "Trainer"]

# On a GPU, reading a loss waits for the device; a few updates share one reading.
_GPU_STEPS_PER_READING = 10
# Besides the evenly spread evaluations: early ones, when a model changes most.
_EARLY_EVALUATIONS = (1 / 40, 1 / 12)
_PUBLISHING_SECONDS = 8.0


class NotFiniteError(RuntimeError):
    """The loss or the gradients became NaN or infinite; checkpoints keep the last good state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: the reason in words and its last state."""

    reason: str
    state: TrainingState


class Trainer:
    """Trains one model on one tokenised corpus.

    Args:
        config: The run's settings.
        computation: Computes losses and gradients of the model.
        optimizer: Updates the same model.
        files: The tokenised corpus.
        first_id: What a document's first token follows: end-of-text.
        processes: This process among all of the run.
        store: Where checkpoints go.
        progress: Where events go.
        show: Prints samples and surprises of the model at a step.
        stop: Looked at once a step.
        started: Time of the command's start, on ``time.monotonic``'s clock.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        computation: Computation,
        optimizer: Optimizer,
        files: TokenFiles,
        first_id: int,
        processes: Processes,
        store: CheckpointStore,
        progress: Progress | None,
        show: Callable[[int], None],
        stop: StopRequest,
        started: float,
    ) -> None:
        self._config = config
        self._schedule = config.schedule
        self._context_length = config.model.context_length
        self._computation = computation
        self.model = computation.model
        self._optimizer = optimizer
        self._files = files
        self._first_id = first_id
        self._batch_size = config.schedule.batch_tokens // config.model.context_length
        self._processes = processes
        self._store = store
        self._progress = progress
        self._show = show
        self._stop = stop
        self.started = started
        self._saved_at = started
        self._windows = TrainingWindows(
            files.train,
            context_length=self._context_length,
            batch_size=self._batch_size,
            seed=config.schedule.seed,
        )
        self._clock = StepClock(
            settings=config.schedule, steps_per_epoch=self._windows.num_windows / self._batch_size
        )
        self.state = TrainingState(num_steps=None, is_compiled=computation.is_compiled)

    def run(self) -> Outcome:
        """Train until a limit, early stopping, the target loss or a stop request.

        Raises:
            NotFiniteError: The loss became NaN or infinite.
            CheckpointError: A checkpoint cannot be written.
        """
        if self.state.step == 0:
            self._evaluate()
        pending: list[Tensor] = []
        while True:
            reason = self._reason_to_end()
            if reason is not None:
                break
            began = time.monotonic()
            loss, norm = self._update()
            pending.append(loss)
            if self._is_time_to_read(pending):
                self._read(pending, norm, began)
                pending.clear()
            self._plan(time.monotonic() - began)
            if self._is_time_to_evaluate():
                self._evaluate()
            elif self._is_time_to_save():
                self._save(is_best=False)
        self._end()
        return Outcome(reason=reason, state=self.state)

    def resume(self, state: Mapping[str, object], tensors: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint: from here on everything is as if never interrupted."""
        self.state = TrainingState.from_json(state)
        self.started -= self.state.elapsed_seconds
        restore_tensors(tensors, self.model, self._optimizer, self._computation.device)

    def _reason_to_end(self) -> str | None:
        state, schedule = self.state, self._schedule
        if self._stop.is_made:
            return "stopped on request"
        if schedule.target_loss and state.best_loss < schedule.target_loss:
            return "the target loss was reached"
        if schedule.patience and state.num_stale_evaluations >= schedule.patience:
            return "early stopping: the held-out loss no longer fell"
        if state.num_steps is not None and state.step >= state.num_steps:
            return "all planned steps are done"
        return None

    def _update(self) -> tuple[Tensor, Tensor]:
        """One optimizer step on the next batch."""
        state = self.state
        windows = self._windows.batch(
            state.step, rank=self._processes.rank, num_processes=self._processes.count
        )
        loss, norm, self._stop.is_made = self._computation.gradients(
            windows, clip=self._config.optimizer.gradient_clip, wants_stop=self._stop.is_made
        )
        if self._computation.device.type == "cpu" and not math.isfinite(float(loss + norm)):
            # Before the weights take it in; a GPU finds out at the next reading.
            raise self._not_finite()
        self._optimizer.step(rate_scale=self._rate_scale())
        state.step += 1
        state.tokens += self._batch_size * self._context_length
        return loss, norm

    def _rate_scale(self) -> float:
        # While the number of steps is being measured the rate is warming up or at its peak.
        num_steps = self.state.num_steps or 1 << 40
        return rate_scale(self.state.step, num_steps=num_steps, settings=self._schedule)

    def _plan(self, step_seconds: float) -> None:
        state = self.state
        if state.num_steps is not None:
            return
        num_left = self._schedule.evaluations + len(_EARLY_EVALUATIONS)
        remaining = (
            self._clock.minutes * 60.0
            - self._elapsed_seconds()
            - _PUBLISHING_SECONDS
            - num_left * self._evaluation_seconds
        )
        planned = self._clock.plan(
            step=state.step, step_seconds=step_seconds, remaining_seconds=remaining
        )
        planned = self._processes.agree(planned or 0, device=self._computation.device)
        state.num_steps = planned or None

    def _is_time_to_read(self, pending: list[Tensor]) -> bool:
        if self._computation.device.type == "cpu" or self.state.num_steps is None:
            return True
        is_last = self.state.step >= self.state.num_steps
        return is_last or self._is_time_to_evaluate() or len(pending) >= _GPU_STEPS_PER_READING

    def _read(self, pending: list[Tensor], norm: Tensor, began: float) -> None:
        """Take losses off the device, refuse what is not finite, tell the progress."""
        loss = float(torch.stack(pending).mean())
        elapsed = self._elapsed_seconds()
        seconds = max(
            1e-9, elapsed - self._read_at if len(pending) > 1 else time.monotonic() - began
        )
        self._read_at = elapsed
        self._event(
            "step",
            step=self.state.step,
            num_steps=self.state.num_steps or 0,
            loss=loss,
            learning_rate=self._rate_scale() * self._config.optimizer.learning_rate,
            gradient_norm=float(norm),
            tokens=self.state.tokens,
            tokens_per_second=len(pending) * self._batch_size * self._context_length / seconds,
            elapsed_seconds=elapsed,
        )
        # Logged first, so that the report shows where it happened.
        if not math.isfinite(loss):
            raise self._not_finite()

    def _not_finite(self) -> NotFiniteError:
        return NotFiniteError(
            f"the loss is not finite at step {self.state.step + 1}; checkpoints keep the last good "
            f"state. Try a smaller optimizer.learning_rate "
            f"(now {self._config.optimizer.learning_rate:g}) or optimizer.adam_learning_rate "
            f"(now {self._config.optimizer.adam_learning_rate:g})"
        )

    def _is_time_to_evaluate(self) -> bool:
        state = self.state
        if state.num_steps is None:
            return False
        interval = max(1, round(state.num_steps / self._schedule.evaluations))
        early = {round(share * state.num_steps) for share in _EARLY_EVALUATIONS}
        is_last = state.step >= state.num_steps
        return is_last or state.step % interval == 0 or state.step in early

    def _evaluate(self) -> None:
        """Measure the held-out loss, keep the state if it is the best so far, show samples."""
        began = time.monotonic()
        state = self.state
        score = self.score(max_tokens=self._schedule.evaluation_tokens)
        is_best = score.nats_per_token < state.best_loss
        if is_best:
            state.best_step, state.best_loss = state.step, score.nats_per_token
            state.best_bits_per_byte = score.bits_per_byte
        if score.nats_per_token < state.patience_loss - self._schedule.min_delta:
            state.patience_loss, state.num_stale_evaluations = score.nats_per_token, 0
        else:
            state.num_stale_evaluations += 1
        self._event(
            "evaluation",
            step=state.step,
            loss=score.nats_per_token,
            bits_per_byte=score.bits_per_byte,
            perplexity=score.perplexity,
            train_loss=None,
            elapsed_seconds=self._elapsed_seconds(),
            is_best=is_best,
        )
        if self._processes.is_first:
            self.model.eval()
            self._show(state.step)
        self._save(is_best=is_best)
        self._evaluation_seconds = time.monotonic() - began

    def score(self, *, max_tokens: int = 0) -> TextScore:
        """Score the held-out text; 0 tokens takes all of it."""
        self.model.eval()
        return score_tokens(
            self._computation.logits,
            self._files.held_out,
            num_bytes=self._files.held_out_bytes,
            context_length=self._context_length,
            first_id=self._first_id,
            device=self._computation.device,
            max_tokens=max_tokens,
        )

    def _is_time_to_save(self) -> bool:
        waited = time.monotonic() - self._saved_at
        return waited > self._config.run.checkpoint_minutes * 60.0

    def _save(self, *, is_best: bool) -> None:
        self._saved_at = time.monotonic()
        if not self._processes.is_first:
            return
        state = self.state
        state.elapsed_seconds = self._elapsed_seconds()
        state.is_compiled = self._computation.is_compiled
        tensors = collect_tensors(self.model, self._optimizer, self._computation.device)
        self._store.save(state.step, tensors=tensors, state=state.to_json(), is_best=is_best)

    def _end(self) -> None:
        """Make sure that the last state, evaluated, is on disk."""
        if self._stop.is_made and self.state.step > 0 and not self._is_time_to_evaluate():
            if self.state.best_step == 0:
                self._evaluate()
            else:
                self._save(is_best=False)

    def _event(self, kind: str, **facts: float | str | bool | None) -> None:
        if self._progress is not None:
            self._progress.event(kind, **facts)

    def _elapsed_seconds(self) -> float:
        return time.monotonic() - self.started

    _evaluation_seconds: float = 0.0
    _read_at: float = 0.0
