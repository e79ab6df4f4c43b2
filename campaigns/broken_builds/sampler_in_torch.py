"""Leaves all drawing to the sampler in torch, whose parts can be exchanged; kernels' cannot."""

from collections.abc import Sequence

from torch import Tensor

from service.engine import sampler
from service.engine.request import Sequence as TokenSequence

__all__ = ["draw_nothing_natively", "draw_only_in_torch"]


def draw_nothing_natively(
    logits_RV: Tensor, sequences: Sequence[TokenSequence], *, instruction_set: str | None = None
) -> None:
    """What the kernels say where they are not to be had."""


def draw_only_in_torch() -> None:
    """From now on, in this process."""
    sampler.draw_natively = draw_nothing_natively
