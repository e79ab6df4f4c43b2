"""What a run must remember to go on as if never interrupted: numbers here, tensors by name."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

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
    tokens: int = 0
    elapsed_seconds: float = 0.0
    best_step: int = 0
    best_loss: float = math.inf
    best_bits_per_byte: float = math.inf
    patience_loss: float = math.inf
    num_stale_evaluations: int = 0
    is_compiled: bool = False

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
        return TrainingState(**present)  # pyright: ignore[reportArgumentType]


def collect_tensors(
    model: nn.Module, optimizer: Optimizer, device: torch.device
) -> dict[str, Tensor]:
    """Parameters, optimizer buffers and random states by name; not copied."""
    tensors = {_MODEL + name: value for name, value in model.state_dict().items()}
    tensors |= {_OPTIMIZER + name: value for name, value in optimizer.state_tensors().items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def restore_tensors(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizer: Optimizer, device: torch.device
) -> None:
    """Set everything that ``collect_tensors`` gave."""
    load_model(model, tensors)
    optimizer.load_state_tensors(_part(tensors, _OPTIMIZER))
    torch.set_rng_state(tensors["rng.cpu"])
    if device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], device)


def load_model(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set a model's parameters from a checkpoint's tensors."""
    model.load_state_dict(_part(tensors, _MODEL))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
