"""Parameters of a model laid end to end in one tensor, so that one operation reaches them all."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

__all__ = ["ParameterRun"]

# Every parameter starts on a cache line, and where a GPU's vector loads may start.
_ALIGNMENT = 64 // 4


class ParameterRun:
    """Parameters that are updated alike, as views of one tensor.

    Args:
        parameters: By name, float32, on one device; at least one. From now on each is a view of
            ``values``.

    Attributes:
        values: All of them [S], each starting at a multiple of 64 bytes; zeros between them.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = dict(parameters)
        self._starts: dict[str, int] = {}
        size = 0
        for name, parameter in parameters.items():
            self._starts[name] = size
            size += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
        first = next(iter(parameters.values()))
        self.values = nn.Parameter(torch.zeros(size, device=first.device), requires_grad=False)
        for name, view in self.named_views(self.values.data):
            parameter = self._parameters[name]
            view.copy_(parameter.detach())
            parameter.data = view

    def named_views(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The part of each parameter in a tensor like ``values``, in its shape; a scalar whole."""
        for name, parameter in self._parameters.items():
            if flat.dim() == 0:
                yield name, flat
                continue
            start = self._starts[name]
            yield name, flat[start : start + parameter.numel()].view_as(parameter)

    def take_gradients(self) -> Tensor:
        """Move the gradients of all parameters to ``values.grad`` [S], and return it."""
        pieces: list[Tensor] = []
        for name, parameter in self._parameters.items():
            assert parameter.grad is not None, f"{name} needs a backward pass first"
            pieces.append(parameter.grad.flatten())
            parameter.grad = None
            if missing := -parameter.numel() % _ALIGNMENT:
                pieces.append(self.values.new_zeros(missing))
        self.values.grad = torch.cat(pieces)
        return self.values.grad

    def gradient(self) -> Tensor:
        """What ``take_gradients`` returned last."""
        assert self.values.grad is not None, "take_gradients() comes first"
        return self.values.grad

    def stacked(self, flat_S: Tensor) -> Tensor:
        """A tensor like ``values`` as one matrix after the other [N, M, K], where all are alike."""
        shape = next(iter(self._parameters.values())).shape
        padded = flat_S.view(len(self._parameters), -1)
        return padded[:, : shape.numel()].view(-1, *shape)
