"""What a run must remember to go on as if never interrupted: numbers here, tensors by name."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from training.checkpoint import CheckpointError
from training.evaluate import TextScore
from training.optimizer import Optimizer

__all__ = ["TrainingState", "collect_tensors", "load_model", "restore_tensors"]

_MODEL = "model."
_OPTIMIZER = "optimizer."


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """The numbers of a run in progress.

    Attributes:
        step: Updates done.
        num_steps: Updates planned, None until the time per update has been measured.
        num_evaluations: Evaluations planned, None for as many as the settings say.
        tokens: Tokens trained on.
        elapsed_seconds: Of all sessions, up to the checkpoint.
        best_step: Update after which the held-out loss was best.
        best_loss: Nats per token there.
        best_bits_per_byte: Bits per byte there.
        patience_loss: Loss that the next evaluation has to beat to count as better.
        num_stale_evaluations: Evaluations in a row that did not.
        is_compiled: Whether the step was compiled; another answer gives other last digits.
    """

    step: int = 0
    num_steps: int | None = None
    num_evaluations: int | None = None
    tokens: int = 0
    elapsed_seconds: float = 0.0
    best_step: int = 0
    best_loss: float = math.inf
    best_bits_per_byte: float = math.inf
    patience_loss: float = math.inf
    num_stale_evaluations: int = 0
    is_compiled: bool = False

    def take_score(self, score: TextScore, *, min_delta: float, counts_for_patience: bool) -> bool:
        """Take in an evaluation of the present step; whether it is the best so far."""
        loss = score.nats_per_token
        is_best = loss < self.best_loss
        if is_best:
            self.best_step, self.best_loss = self.step, loss
            self.best_bits_per_byte = score.bits_per_byte
        if counts_for_patience:
            if loss < self.patience_loss - min_delta:
                self.patience_loss, self.num_stale_evaluations = loss, 0
            else:
                self.num_stale_evaluations += 1
        return is_best

    def take_best_from(self, other: "TrainingState | None") -> None:
        """Forget the best evaluation for that of an earlier state; None leaves none at all."""
        other = other or TrainingState()
        self.best_step, self.best_loss = other.best_step, other.best_loss
        self.best_bits_per_byte = other.best_bits_per_byte

    def to_json(self) -> dict[str, float | int | bool | None]:
        """Values by name; infinities, which JSON has not, become None."""
        return {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in asdict(self).items()
        }

    @staticmethod
    def from_json(values: Mapping[str, object]) -> "TrainingState":
        """The state that ``to_json`` wrote."""
        present = {name: value for name, value in values.items() if value is not None}
        try:
            return TrainingState(**present)  # pyright: ignore[reportArgumentType]
        except TypeError as error:
            raise CheckpointError("--resume: the checkpoint is of another version") from error


def collect_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Parameters and optimizer buffers by name; not copied.

    There are no random states among them: batches and dropout are functions of (seed, step).
    """
    tensors = {_MODEL + name: value for name, value in model.state_dict().items()}
    return tensors | {_OPTIMIZER + name: t for name, t in optimizer.state_tensors().items()}


def restore_tensors(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: Optimizer) -> None:
    """Set everything that ``collect_tensors`` gave.

    Raises:
        CheckpointError: The tensors are those of another model or optimizer.
    """
    load_model(model, tensors)
    try:
        optimizer.load_state_tensors(_part(tensors, _OPTIMIZER))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(_other("the optimizer's state")) from error


def load_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set a model's parameters from a checkpoint's tensors.

    Raises:
        CheckpointError: The tensors are those of another model.
    """
    stored, wanted = _part(tensors, _MODEL), model.state_dict()
    for name in sorted(stored.keys() | wanted.keys()):
        if name not in stored or name not in wanted or stored[name].shape != wanted[name].shape:
            raise CheckpointError(_other(name))
    model.load_state_dict(stored)


def _other(name: str) -> str:
    return f"--resume: the checkpoint is of another model or optimizer: {name} differs"


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
