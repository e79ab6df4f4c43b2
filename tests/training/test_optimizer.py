"""The batched optimizer against a plain one, matrix by matrix, written here."""

import copy
import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.transformer import Transformer
from training.config import OptimizerSettings
from training.optimizer import Optimizer, orthogonalize

SETTINGS = OptimizerSettings(learning_rate=0.02, adam_learning_rate=0.003, weight_decay=0.1)


def tiny_model(hidden_size: int = 16, intermediate_size: int = 32) -> Transformer:
    """Two layers with matrices of several shapes."""
    config = ModelConfig(
        vocab_size=40,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=16,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_ids=(0,),
    )
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(1))
    return model


def give_gradients(model: nn.Module, seed: int) -> None:
    """Random gradients, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 16, 100), (2, 100, 16), (1, 1, 8)])
def test_orthogonalized_matrices_are_nearly_orthogonal(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 37
    found = orthogonalize(matrices)
    assert found.shape == matrices.shape
    before, after = singular_values(matrices), singular_values(found)
    # Five iterations do not lift what is next to nothing beside the rest.
    num_hidden = sum(value < 0.01 * math.hypot(*values) for values in before for value in values)
    num_low = sum(value < 0.6 for values in after for value in values)
    assert num_low <= num_hidden <= 0.06 * sum(map(len, before))
    assert max(map(max, after)) < 1.3
    # It keeps the directions: the product with the matrix is near the sum of its singular values,
    # which is the largest that an orthogonal matrix can have.
    for one, other, values in zip(matrices, found, before, strict=True):
        assert float((one * other).sum()) > 0.6 * sum(values)


def singular_values(matrices: Tensor) -> list[list[float]]:
    """Of each matrix."""
    return cast("list[list[float]]", np.linalg.svd(matrices.numpy(), compute_uv=False).tolist())


def test_zero_gradients_change_nothing_but_the_decay() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 4, 6)), torch.zeros(2, 4, 6))


class PlainOptimizer:
    """Muon and AdamW as their papers have them, one parameter after the other."""

    def __init__(self, model: nn.Module, settings: OptimizerSettings) -> None:
        self._settings = settings
        self._parameters = dict(model.named_parameters())
        self._first = {n: torch.zeros_like(p) for n, p in self._parameters.items()}
        self._second = {n: torch.zeros_like(p) for n, p in self._parameters.items()}
        self._num_steps = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        self._num_steps += 1
        for name, parameter in self._parameters.items():
            assert parameter.grad is not None
            is_matrix = ".layers." in name and parameter.dim() == 2
            if is_matrix and self._settings.name == "muon":
                self._muon(name, parameter, parameter.grad, scale)
            else:
                self._adamw(name, parameter, parameter.grad, scale)

    def _muon(self, name: str, parameter: Tensor, gradient: Tensor, scale: float) -> None:
        rate, momentum = self._settings.learning_rate * scale, self._settings.momentum
        buffer = self._first[name]
        buffer.mul_(momentum).add_((1 - momentum) * gradient)
        direction = (1 - momentum) * gradient + momentum * buffer
        wide: Tensor = direction.T if parameter.shape[0] > parameter.shape[1] else direction
        x: Tensor = wide / wide.square().sum().sqrt()
        for _ in range(5):
            product: Tensor = x @ x.T
            x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
        update: Tensor = x.T if parameter.shape[0] > parameter.shape[1] else x
        factor = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
        parameter.mul_(1 - rate * self._settings.weight_decay).sub_(rate * factor * update)

    def _adamw(self, name: str, parameter: Tensor, gradient: Tensor, scale: float) -> None:
        settings, rate = self._settings, self._settings.adam_learning_rate * scale
        first, second = self._first[name], self._second[name]
        first.mul_(settings.beta1).add_((1 - settings.beta1) * gradient)
        second.mul_(settings.beta2).add_((1 - settings.beta2) * gradient**2)
        mean = first / (1 - settings.beta1**self._num_steps)
        variance = second / (1 - settings.beta2**self._num_steps)
        if settings.name == "adamw" and parameter.dim() == 2:
            parameter.mul_(1 - rate * settings.weight_decay)
        parameter.sub_(rate * mean / (variance.sqrt() + 1e-8))


@pytest.mark.parametrize("name", ["muon", "adamw"])
@pytest.mark.parametrize("widths", [(16, 32), (13, 27)])
def test_updates_are_those_of_the_plain_algorithm(name: str, widths: tuple[int, int]) -> None:
    settings = OptimizerSettings(name=name)  # pyright: ignore[reportArgumentType]
    model = tiny_model(*widths)
    twin = copy.deepcopy(model)
    optimizer, plain = Optimizer(model, settings), PlainOptimizer(twin, settings)
    for step in range(6):
        give_gradients(model, step)
        give_gradients(twin, step)
        optimizer.take_gradients(clip=0)
        optimizer.step(rate_scale=1.0 - 0.1 * step)
        plain.step(1.0 - 0.1 * step)
    for (key, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-5), key
        assert ours.grad is None


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_clipping_limits_the_norm_of_all_gradients_together(name: str) -> None:
    settings = OptimizerSettings(
        name=name,  # pyright: ignore[reportArgumentType]
        learning_rate=0.0,
        momentum=0.0,
        beta1=0.0,
        beta2=0.0,
    )
    model, twin = tiny_model(13, 27), tiny_model(13, 27)
    one, other = Optimizer(model, settings), Optimizer(twin, settings)
    give_gradients(model, 1)
    give_gradients(twin, 1)
    gradients = [p.grad.clone() for p in twin.parameters() if p.grad is not None]
    whole = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    assert float(other.take_gradients(clip=whole * 1.01)) == pytest.approx(whole)
    assert float(one.take_gradients(clip=0.01)) == pytest.approx(whole)
    # What a momentum without memory holds afterwards is the gradient itself, or its square.
    one.step(rate_scale=1.0)
    other.step(rate_scale=1.0)
    small, large = one.state_tensors(), other.state_tensors()
    for name_of_state in (key for key in small if key.startswith(("momentum", "exp_avg."))):
        ratio = small[name_of_state] / large[name_of_state]
        assert torch.allclose(ratio, torch.tensor(0.01 / whole), rtol=1e-3), name_of_state


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_saved_state_continues_bit_identically(name: str) -> None:
    settings = OptimizerSettings(name=name)  # pyright: ignore[reportArgumentType]
    model = tiny_model()
    optimizer = Optimizer(model, settings)
    for step in range(3):
        give_gradients(model, step)
        optimizer.take_gradients(clip=0)
        optimizer.step(rate_scale=1.0)
    twin = copy.deepcopy(model)
    resumed = Optimizer(twin, settings)
    resumed.load_state_tensors({n: t.clone() for n, t in optimizer.state_tensors().items()})
    for step in range(3, 6):
        give_gradients(model, step)
        give_gradients(twin, step)
        optimizer.take_gradients(clip=0)
        optimizer.step(rate_scale=0.5)
        resumed.take_gradients(clip=0)
        resumed.step(rate_scale=0.5)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_every_parameter_is_updated_once() -> None:
    model = tiny_model()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = Optimizer(model, SETTINGS)
    give_gradients(model, 1)
    optimizer.take_gradients(clip=0)
    optimizer.step(rate_scale=1.0)
    for old, new in zip(before, model.parameters(), strict=True):
        assert not torch.equal(old, new)
