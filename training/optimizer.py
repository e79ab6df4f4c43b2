"""AdamW for embeddings and norms, Muon for the matrices inside the blocks.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest orthogonal matrix, found
by a few Newton-Schulz iterations, so that every direction learns at the same rate. Matrices of one
shape are orthogonalised together: at small widths many small products cost more than one batched.
"""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.config import OptimizerSettings

__all__ = ["Optimizer", "orthogonalize"]

# Coefficients of the quintic iteration, from Jordan et al. 2024.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalize(matrices_NMK: Tensor) -> Tensor:
    """Approximate the orthogonal factor UV^T of each of N matrices [M, K].

    Singular values of at least 1 % of the matrix's norm end between about 0.7 and 1.2, which is
    near enough for an update; smaller ones end below.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrices_NMK.shape[-2] > matrices_NMK.shape[-1]
    x: Tensor = matrices_NMK.mT if is_tall else matrices_NMK
    x = x / (x.square().sum((-2, -1), keepdim=True).sqrt() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram: Tensor = torch.bmm(x, x.mT)
        polynomial: Tensor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if is_tall else x


class Optimizer:
    """Updates all parameters of a model from their gradients.

    Args:
        model: Its parameters are updated in place.
        settings: Rates, decay and momenta.

    The rates given at each ``step`` are multiplied by ``rate_scale``, so that a schedule is one
    number between 0 and 1.
    """

    def __init__(self, model: nn.Module, settings: OptimizerSettings) -> None:
        self.settings = settings
        self._names: dict[Tensor, str] = {
            parameter: name for name, parameter in model.named_parameters()
        }
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        decayed: list[Tensor] = []
        plain: list[Tensor] = []
        for parameter, name in self._names.items():
            if settings.name == "muon" and ".layers." in name and parameter.dim() == 2:
                by_shape[parameter.shape].append(parameter)
            elif parameter.dim() == 2 and settings.name == "adamw":
                decayed.append(parameter)
            else:
                plain.append(parameter)
        self._matrices = list(by_shape.values())
        self._momenta = [
            torch.zeros(len(group), *group[0].shape, device=group[0].device)
            for group in self._matrices
        ]
        self._adam = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=settings.adam_learning_rate,
            betas=(settings.beta1, settings.beta2),
            fused=True,
        )

    @torch.no_grad()
    def step(self, *, rate_scale: float) -> None:
        """Apply the gradients once and clear them."""
        for group in self._adam.param_groups:
            group["lr"] = self.settings.adam_learning_rate * rate_scale
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        for parameters, momentum in zip(self._matrices, self._momenta, strict=True):
            self._step_matrices(parameters, momentum, self.settings.learning_rate * rate_scale)

    def _step_matrices(self, parameters: list[Tensor], momentum_NMK: Tensor, rate: float) -> None:
        gradients_NMK = torch.stack([_gradient(parameter) for parameter in parameters])
        momentum_NMK.lerp_(gradients_NMK, 1.0 - self.settings.momentum)
        nesterov_NMK = gradients_NMK.lerp_(momentum_NMK, self.settings.momentum)
        if nesterov_NMK.is_cuda:
            nesterov_NMK = nesterov_NMK.bfloat16()
        updates_NMK = orthogonalize(nesterov_NMK).float()
        rows, columns = updates_NMK.shape[-2:]
        # A tall matrix changes its output as much per step as a wide one.
        scale = max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(parameters, 1.0 - rate * self.settings.weight_decay)  # pyright: ignore
        torch._foreach_add_(parameters, list(updates_NMK.unbind()), alpha=-rate * scale)  # pyright: ignore
        for parameter in parameters:
            parameter.grad = None

    @property
    def peak_rate(self) -> float:
        """The rate that the log shows: that of the matrices inside the blocks."""
        if self.settings.name == "adamw":
            return self.settings.adam_learning_rate
        return self.settings.learning_rate

    def state_tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name; the tensors are not copied."""
        tensors: dict[str, Tensor] = {}
        for parameters, momentum in zip(self._matrices, self._momenta, strict=True):
            for parameter, buffer in zip(parameters, momentum.unbind(), strict=True):
                tensors[f"momentum.{self._names[parameter]}"] = buffer
        for parameter, state in self._adam.state.items():
            for key, value in state.items():
                tensors[f"{key}.{self._names[parameter]}"] = value
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``state_tensors`` of an equal optimizer returned."""
        for parameters, momentum in zip(self._matrices, self._momenta, strict=True):
            for parameter, buffer in zip(parameters, momentum.unbind(), strict=True):
                buffer.copy_(tensors[f"momentum.{self._names[parameter]}"])
        for group in self._adam.param_groups:
            for parameter in group["params"]:
                name = self._names[parameter]
                self._adam.state[parameter] = {
                    # AdamW's fused kernel wants its counter beside the parameter.
                    key: tensors[f"{key}.{name}"].to(parameter.device, torch.float32).clone()
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{key}.{name}" in tensors
                }


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "step() needs a backward pass before it"
    return parameter.grad
