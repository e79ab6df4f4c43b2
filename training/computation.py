"""One update's arithmetic: loss and gradients of a batch, on any device, alone or in parallel."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.transformer import Transformer
from training.hardware import Hardware
from training.parallel import Processes

__all__ = ["Computation", "step_seed"]


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of everything random in an update but its batch: dropout, another in each process."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)


class Computation:
    """Computes losses, gradients and logits of a model.

    Args:
        model: Its parameters get the gradients.
        hardware: Device, number type, and whether to compile.
        processes: Among which gradients are averaged.
        micro_batch_size: Windows computed at once.
        announce: Told when compiling fails and the plain step takes its place.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        hardware: Hardware,
        processes: Processes,
        micro_batch_size: int,
        announce: Callable[[str], None],
    ) -> None:
        self.model = model
        self.device = torch.device(hardware.device)
        self.is_compiled = hardware.is_compiled
        self._dtype = torch.bfloat16 if hardware.dtype == "bf16" else torch.float32
        self._processes = processes
        self._micro_batch_size = micro_batch_size
        self._announce = announce
        self._loss_function: Callable[[Tensor], Tensor] | None = None

    def gradients(
        self, windows: NDArray[np.int64], *, seed: int, wants_stop: bool
    ) -> tuple[Tensor, bool]:
        """Set the gradients of the mean loss of a batch, over all processes.

        Args:
            windows: This process's rows [B, T + 1] of the batch.
            seed: Of dropout.
            wants_stop: Whether this process was asked to stop.

        Returns:
            The loss as a scalar on the device, and whether any process was asked to stop.
        """
        self.model.train()
        torch.manual_seed(seed)
        batch = self._to_device(windows)
        total = torch.zeros((), device=self.device)
        for start in range(0, len(batch), self._micro_batch_size):
            part = batch[start : start + self._micro_batch_size]
            loss = self._part_loss(part)
            share = len(part) / len(batch)
            (loss * share).backward()
            total += loss.detach() * share
        stop = torch.full((1,), float(wants_stop), device=self.device)
        if self._processes.count > 1:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            self._processes.average([*gradients, total, stop])
            wants_stop = bool(stop > 0)
        return total, wants_stop

    def logits(self, token_ids_BT: Tensor) -> Tensor:
        """Logits [B, T, V] in the number type of training; for evaluations along the way."""
        with self._autocast():
            return self.model(token_ids_BT)

    def _to_device(self, windows: NDArray[np.int64]) -> Tensor:
        batch = torch.from_numpy(windows)  # pyright: ignore[reportUnknownMemberType]
        if self.device.type == "cuda":
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch

    def _part_loss(self, windows: Tensor) -> Tensor:
        try:
            if self._loss_function is None:
                self._loss_function = torch.compile(self._loss) if self.is_compiled else self._loss
            return self._loss_function(windows)
        except Exception as error:
            if not self.is_compiled:
                raise
            # Whatever is wrong with the compiler, the plain step computes the same; an error of
            # our own comes again from there.
            reason = str(error).strip().partition("\n")[0][:160]
            self._announce(
                f"torch.compile failed ({type(error).__name__}: {reason}); goes on without"
            )
            self.is_compiled = False
            self._loss_function = self._loss
            return self._loss(windows)

    def _loss(self, windows: Tensor) -> Tensor:
        with self._autocast():
            logits_BTV = self.model(windows[:, :-1])
        return F.cross_entropy(logits_BTV.float().flatten(0, 1), windows[:, 1:].flatten())

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self._dtype == torch.bfloat16
        )
