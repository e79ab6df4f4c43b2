"""AdamW for embeddings and norms, Muon for the matrices inside the blocks.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest orthogonal matrix, found
by a few Newton-Schulz iterations, so that every direction learns at the same rate. Matrices of one
shape are orthogonalised together: at small widths many small products cost more than one batched.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from training.config import OptimizerSettings
from training.parameter_run import ParameterRun

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
        model: Its parameters are updated in place. They become views of a few long tensors, one
            for each way of updating, because dozens of small operations take longer than few.
        settings: Rates, decay and momenta.

    Each update is ``take_gradients`` and then ``step``. The rates given at each ``step`` are
    multiplied by ``rate_scale``, so that a schedule is one number between 0 and 1.
    """

    def __init__(self, model: nn.Module, settings: OptimizerSettings) -> None:
        self.settings = settings
        matrices: dict[torch.Size, dict[str, nn.Parameter]] = defaultdict(dict)
        decayed: dict[str, nn.Parameter] = {}
        plain: dict[str, nn.Parameter] = {}
        for name, parameter in model.named_parameters():
            if settings.name == "muon" and ".layers." in name and parameter.dim() == 2:
                matrices[parameter.shape][name] = parameter
            elif parameter.dim() == 2 and settings.name == "adamw":
                decayed[name] = parameter
            else:
                plain[name] = parameter
        self._matrices = [ParameterRun(group) for group in matrices.values()]
        self._momenta = [torch.zeros_like(run.values) for run in self._matrices]
        decays = [(settings.weight_decay, decayed), (0.0, plain)]
        runs = [(decay, ParameterRun(group)) for decay, group in decays if group]
        self._adam_runs = [run for _, run in runs]
        self._adam = torch.optim.AdamW(
            [{"params": [run.values], "weight_decay": decay} for decay, run in runs],
            lr=settings.adam_learning_rate,
            betas=(settings.beta1, settings.beta2),
            fused=True,
        )

    @torch.no_grad()
    def take_gradients(self, *, clip: float) -> Tensor:
        """Take the gradients from the parameters for the next ``step``, scaled down where large.

        Args:
            clip: Largest norm of all gradients together; 0 is off.

        Returns:
            The norm of all gradients together before clipping, a scalar on the device.
        """
        runs = [*self._matrices, *self._adam_runs]
        gradients = [run.take_gradients() for run in runs]
        norms = [cast(Tensor, torch.linalg.vector_norm(gradient)) for gradient in gradients]
        norm = cast(Tensor, torch.linalg.vector_norm(torch.stack(norms)))
        if clip:
            # The small number keeps a gradient of nothing but zeros from becoming NaN.
            scale = (clip / (norm + 1e-6)).clamp_(max=1.0)
            for gradient in gradients:
                gradient.mul_(scale)
        return norm

    @torch.no_grad()
    def step(self, *, rate_scale: float) -> None:
        """Apply the gradients taken last, once."""
        for group in self._adam.param_groups:
            group["lr"] = self.settings.adam_learning_rate * rate_scale
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        for run, momentum in zip(self._matrices, self._momenta, strict=True):
            self._step_matrices(run, momentum, self.settings.learning_rate * rate_scale)

    def _step_matrices(self, run: ParameterRun, momentum: Tensor, rate: float) -> None:
        gradient = run.gradient()
        momentum.lerp_(gradient, 1.0 - self.settings.momentum)
        nesterov_NMK = run.stacked(gradient.lerp_(momentum, self.settings.momentum))
        if nesterov_NMK.is_cuda:
            nesterov_NMK = nesterov_NMK.bfloat16()
        updates_NMK = orthogonalize(nesterov_NMK).float()
        rows, columns = updates_NMK.shape[-2:]
        # A tall matrix changes its output as much per step as a wide one.
        scale = max(1.0, rows / columns) ** 0.5
        matrices_NMK = run.stacked(run.values)
        matrices_NMK.mul_(1.0 - rate * self.settings.weight_decay)
        matrices_NMK.add_(updates_NMK, alpha=-rate * scale)
        run.values.grad = None

    @property
    def peak_rate(self) -> float:
        """The rate that the log shows: that of the matrices inside the blocks."""
        if self.settings.name == "adamw":
            return self.settings.adam_learning_rate
        return self.settings.learning_rate

    def state_tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name; the tensors are not copied."""
        tensors: dict[str, Tensor] = {}
        for run, momentum in zip(self._matrices, self._momenta, strict=True):
            for name, buffer in run.named_views(momentum):
                tensors[f"momentum.{name}"] = buffer
        for run in self._adam_runs:
            for key, value in self._adam.state[run.values].items():
                for name, part in run.named_views(value):
                    tensors[f"{key}.{name}"] = part
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``state_tensors`` of an equal optimizer returned."""
        for run, momentum in zip(self._matrices, self._momenta, strict=True):
            for name, buffer in run.named_views(momentum):
                buffer.copy_(tensors[f"momentum.{name}"])
        # Before its first step AdamW holds nothing.
        has_stepped = any(name.startswith("exp_avg.") for name in tensors)
        for run in self._adam_runs if has_stepped else []:
            # Its fused kernel wants the counter beside the parameters.
            state = {"step": torch.zeros((), device=run.values.device)}
            for key in ("exp_avg", "exp_avg_sq"):
                state[key] = torch.zeros_like(run.values)
            for key, value in state.items():
                for name, part in run.named_views(value):
                    part.copy_(tensors[f"{key}.{name}"])
            self._adam.state[run.values] = state
