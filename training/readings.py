"""Losses on their way from the device to the log: a few updates share one reading on a GPU."""

import time

import torch
from torch import Tensor

from training.progress import Progress
from training.training_state import TrainingState

__all__ = ["Readings"]

# Reading a loss waits for the device.
_GPU_STEPS_PER_READING = 10


class Readings:
    """The losses of the updates since the last reading.

    Args:
        progress: Told about every reading; None in all processes but the first.
        tokens_per_step: Of all processes together.
        is_gpu: Whether reading a loss costs a wait.
    """

    def __init__(self, progress: Progress | None, *, tokens_per_step: int, is_gpu: bool) -> None:
        self._progress = progress
        self._tokens_per_step = tokens_per_step
        self._max_pending = _GPU_STEPS_PER_READING if is_gpu else 1
        self._pending: list[Tensor] = []
        self._since = time.monotonic()

    @property
    def is_empty(self) -> bool:
        """Whether every loss was read."""
        return not self._pending

    @property
    def is_full(self) -> bool:
        """Whether enough updates wait for a reading."""
        return len(self._pending) >= self._max_pending

    def begin(self) -> None:
        """Note that an update begins now; what was done since the last reading does not count."""
        if not self._pending:
            self._since = time.monotonic()

    def add(self, loss: Tensor) -> None:
        """Take in the loss of an update, still on its device."""
        self._pending.append(loss)

    def read(
        self, state: TrainingState, norm: Tensor, *, rate: float, started: float
    ) -> tuple[float, float]:
        """Wait for the device and log the mean loss.

        Args:
            state: After the last update.
            norm: Of the last update's gradients.
            rate: The last update's learning rate.
            started: Time of the run's start, on ``time.monotonic``'s clock.

        Returns:
            The mean loss, which may not be finite, and the seconds of an update.
        """
        loss = float(torch.stack(self._pending).mean())
        now = time.monotonic()
        seconds = max(1e-9, now - self._since) / len(self._pending)
        if self._progress is not None:
            self._progress.event(
                "step",
                step=state.step,
                num_steps=state.num_steps or 0,
                loss=loss,
                learning_rate=rate,
                gradient_norm=float(norm),
                tokens=state.tokens,
                tokens_per_second=self._tokens_per_step / seconds,
                elapsed_seconds=now - started,
            )
        self._pending.clear()
        return loss, seconds
