"""When and what of a training run goes into its checkpoints."""

import time
from collections.abc import Mapping

from torch import Tensor

from training.checkpoint import CheckpointStore
from training.computation import Computation
from training.optimizer import Optimizer
from training.training_state import TrainingState, collect_tensors, restore_tensors

__all__ = ["Keeper"]


class Keeper:
    """Saves a run's state, and gives it back.

    Args:
        store: Where checkpoints go; None in all processes but the first, which save nothing.
        computation: With the model.
        optimizer: With its own state.
        minutes: Longest time between two checkpoints.
    """

    def __init__(
        self,
        store: CheckpointStore | None,
        *,
        computation: Computation,
        optimizer: Optimizer,
        minutes: float,
    ) -> None:
        self._store = store
        self._computation = computation
        self._optimizer = optimizer
        self._seconds = minutes * 60.0
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is old."""
        return time.monotonic() - self._saved_at > self._seconds

    def save(self, state: TrainingState, *, is_best: bool, elapsed_seconds: float) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: It cannot be written, or holds numbers that are not finite.
        """
        if self._store is not None:
            state.elapsed_seconds = elapsed_seconds
            state.is_compiled = self._computation.is_compiled
            tensors = collect_tensors(self._computation.model, self._optimizer)
            self._store.save(state.step, tensors=tensors, state=state.to_json(), is_best=is_best)
        self._saved_at = time.monotonic()

    def restore(self, state: Mapping[str, object], tensors: Mapping[str, Tensor]) -> TrainingState:
        """Set model and optimizer to a checkpoint, and return the rest of it.

        Raises:
            CheckpointError: It is of another model or optimizer.
        """
        restore_tensors(tensors, self._computation.model, self._optimizer)
        return TrainingState.from_json(state)
