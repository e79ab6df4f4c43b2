"""Leaves drawing to the sampler in torch, whose parts can be exchanged; kernels' cannot."""

from collections.abc import Sequence

from torch import Tensor

from service.engine import looking_ahead, sampler
from service.engine.request import Sequence as TokenSequence

__all__ = ["NeverAhead", "draw_nothing_natively", "draw_only_in_torch", "draw_steps_in_torch"]


class NeverAhead:
    """What no executor is, in place of `DrawsAhead`."""


def draw_nothing_natively(
    logits_RV: Tensor, sequences: Sequence[TokenSequence], *, instruction_set: str | None = None
) -> None:
    """What the kernels say where they are not to be had."""


def draw_only_in_torch() -> None:
    """From now on, in this process: every token, since nothing runs ahead either.

    It holds for engines that are made afterwards.
    """
    draw_steps_in_torch()
    looking_ahead.DrawsAhead = NeverAhead


def draw_steps_in_torch() -> None:
    """From now on, in this process: the tokens of ordinary steps. Runs ahead draw by themselves."""
    sampler.draw_natively = draw_nothing_natively
