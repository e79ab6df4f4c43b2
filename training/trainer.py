"""The training loop: update, evaluate, keep the best, checkpoint, stop for a reason.

Reads top to bottom in ``Trainer.run``. It knows arrays of tokens, a model and a folder for
checkpoints; corpora, tokenizers and artifacts are the business of ``training.job``.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from training.checkpoint import Checkpoint, CheckpointStore
from training.computation import Computation, step_seed
from training.config import TrainingConfig
from training.dataset import TrainingWindows
from training.held_out import HeldOut
from training.keeper import Keeper
from training.not_finite import NotFiniteError
from training.optimizer import Optimizer
from training.parallel import Processes
from training.progress import Progress
from training.readings import Readings
from training.schedule import StepClock, rate_scale
from training.stop_request import StopRequest
from training.time_plan import MeasuredSeconds, plan_time
from training.training_state import TrainingState

__all__ = ["Trainer"]


class Trainer:
    """Trains one model on one tokenised corpus.

    Args:
        config: The run's settings.
        computation: Computes losses and gradients of the model.
        optimizer: Updates the same model.
        windows: Batches of the training side.
        held_out: Measures on the other side.
        processes: This process among all of the run.
        store: Where checkpoints go; None, as the next, in all processes but the first.
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
        windows: TrainingWindows,
        held_out: HeldOut,
        processes: Processes,
        store: CheckpointStore | None,
        progress: Progress | None,
        show: Callable[[int], None],
        stop: StopRequest,
        started: float,
    ) -> None:
        self._config = config
        self._schedule = config.schedule
        self._computation = computation
        self.model = computation.model
        self._optimizer = optimizer
        self._processes = processes
        self._keeper = Keeper(
            store,
            computation=computation,
            optimizer=optimizer,
            minutes=config.run.checkpoint_minutes,
        )
        self._progress = progress
        self._show = show
        self._stop = stop
        # What all processes have agreed on; a signal alone must not part them.
        self._is_stopping = False
        self._started = started
        self._show_seconds = 0.0
        self._evaluated_step = -1
        self._windows = windows
        self.held_out = held_out
        self._clock = StepClock(settings=config.schedule, steps_per_epoch=windows.steps_per_epoch)
        self._readings = Readings(
            progress,
            tokens_per_step=windows.tokens_per_step,
            is_gpu=computation.device.type != "cpu",
        )
        self.state = TrainingState(num_steps=self._clock.known_num_steps)

    def run(self) -> str:
        """Train until a limit, early stopping, the target loss or a stop request; says which.

        Raises:
            NotFiniteError: The loss became NaN or infinite.
            CheckpointError: A checkpoint cannot be written.
        """
        if self.state.step == 0:
            self._evaluate(is_scheduled=True)
        while (reason := self.reason_to_end()) is None:
            self._update()
            is_save_due = self._keeper.is_due
            # Nothing is saved or measured before the losses so far were found finite.
            is_read_due = self._readings.is_full or self.state.num_steps is None
            if is_read_due or is_save_due or self._is_time_to_evaluate():
                self._read()
            if self._is_time_to_evaluate():
                self._evaluate(is_scheduled=True)
            elif is_save_due:
                self._keep(is_best=False)
        if self._is_stopping and self._evaluated_step != self.state.step:
            if not self._readings.is_empty:
                self._read()
            # Out of turn, so it must not count for patience: the run may be resumed.
            self._evaluate(is_scheduled=False)
        return reason

    def resume(self, checkpoint: Checkpoint, *, is_length_changed: bool) -> None:
        """Take over a checkpoint: from here on everything is as if never interrupted.

        Args:
            checkpoint: Of this run.
            is_length_changed: Whether the number of steps has to be found anew.

        Raises:
            CheckpointError: It is of another model or optimizer.
        """
        self.state = self._keeper.restore(checkpoint.state, checkpoint.tensors)
        if is_length_changed:
            self.state.num_steps = self._clock.known_num_steps
            self.state.num_evaluations = None
            self.state.num_stale_evaluations = 0
        self._started -= self.state.elapsed_seconds

    def reason_to_end(self) -> str | None:
        """Why no further update is to be made, None while there is one to make."""
        state, schedule = self.state, self._schedule
        if self._is_stopping:
            return "stopped on request"
        if schedule.target_loss and state.best_loss < schedule.target_loss:
            return "the target loss was reached"
        if schedule.patience and state.num_stale_evaluations >= schedule.patience:
            return "early stopping: the held-out loss no longer fell"
        if state.num_steps is not None and state.step >= state.num_steps:
            return "all planned steps are done"
        return None

    def elapsed_seconds(self) -> float:
        """Time of all sessions of the run, preparation included."""
        return time.monotonic() - self._started

    def _update(self) -> None:
        """One optimizer step on the next batch."""
        self._readings.begin()
        state, rank, count = self.state, self._processes.rank, self._processes.count
        windows = self._windows.batch(state.step, rank=rank, num_processes=count)
        loss, self._is_stopping = self._computation.gradients(
            windows,
            seed=step_seed(self._schedule.seed, state.step, rank),
            wants_stop=self._stop.is_made,
        )
        self._norm = self._optimizer.take_gradients(clip=self._config.optimizer.gradient_clip)
        if count == 1:
            self._is_stopping = self._stop.is_made
        if self._computation.device.type == "cpu" and not math.isfinite(float(loss + self._norm)):
            # Before the weights take it in; a GPU finds out at the next reading.
            raise NotFiniteError(state.step + 1, self._config.optimizer)
        # While the number of steps is being measured the rate is warming up or at its peak.
        num_steps = state.num_steps or 1 << 40
        self._rate = rate_scale(state.step, num_steps=num_steps, settings=self._schedule)
        self._optimizer.step(rate_scale=self._rate)
        state.step += 1
        state.tokens += self._windows.tokens_per_step
        self._readings.add(loss)

    def _read(self) -> None:
        """Take losses off the device, log them, refuse what is not finite; plan by their time."""
        rate = self._rate * self._optimizer.peak_rate
        loss, seconds = self._readings.read(
            self.state, self._norm, rate=rate, started=self._started
        )
        # Logged first, so that the report shows where it happened.
        if not math.isfinite(loss):
            raise NotFiniteError(self.state.step, self._config.optimizer)
        if self.state.num_steps is None:
            self._plan(seconds)

    def _plan(self, step_seconds: float) -> None:
        """Fix the number of steps, and how often to evaluate, as soon as their time is known."""
        state = self.state
        measured = MeasuredSeconds(
            elapsed=self.elapsed_seconds(),
            step=step_seconds,
            evaluation=self.held_out.seconds + self._show_seconds,
            whole_evaluation=self.held_out.seconds_of_all,
            final_samples=self._config.run.final_samples * self._show_seconds,
        )
        plan = plan_time(
            self._clock, measured, step=state.step, max_evaluations=self._schedule.evaluations
        )
        agreed = self._processes.agree(plan.num_steps or 0, device=self._computation.device)
        state.num_steps = int(agreed) or None
        if state.num_steps is None:
            return
        agreed = self._processes.agree(plan.num_evaluations, device=self._computation.device)
        state.num_evaluations = int(agreed)
        if self._progress is not None:
            self._progress.event(
                "note",
                text=f"{state.num_steps:,} steps fit the limit of {self._clock.minutes:g} minutes "
                f"by the rate of the first {state.step}, with {state.num_evaluations} evaluations",
            )

    def _is_time_to_evaluate(self) -> bool:
        state = self.state
        return self._clock.is_evaluation_step(
            state.step, num_steps=state.num_steps, num_evaluations=state.num_evaluations
        )

    def _evaluate(self, *, is_scheduled: bool) -> None:
        """Measure the held-out loss, keep the state if it is the best so far, show samples."""
        state = self.state
        score = self.held_out.score_part()
        # One verdict for all processes, whatever their last digits.
        loss = self._processes.agree(score.nats_per_token, device=self._computation.device)
        if not math.isfinite(loss):
            raise NotFiniteError(state.step, self._config.optimizer)
        score = replace(score, nats_per_token=loss)
        is_best = state.take_score(
            score, min_delta=self._schedule.min_delta, counts_for_patience=is_scheduled
        )
        self._evaluated_step = state.step
        if self._progress is not None:
            self._progress.event(
                "evaluation",
                step=state.step,
                loss=score.nats_per_token,
                bits_per_byte=score.bits_per_byte,
                perplexity=score.perplexity,
                train_loss=None,
                elapsed_seconds=self.elapsed_seconds(),
                is_best=is_best,
            )
            began = time.monotonic()
            self._show(state.step)
            self._show_seconds = time.monotonic() - began
        self._keep(is_best=is_best)

    def _keep(self, *, is_best: bool) -> None:
        self._keeper.save(self.state, is_best=is_best, elapsed_seconds=self.elapsed_seconds())
