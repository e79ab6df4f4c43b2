"""The stages of sampling that turn logits into integer weights, and one number into a token.

Temperature, top-k, top-p and min-p, for many rows at once. Every step is elementwise, a maximum or
a sum of integers, so a row's result has the same bits in any batch. Shape letters: R rows, V
vocabulary, W candidates of a row: the whole vocabulary, or as many as the largest top-k.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

__all__ = [
    "GREEDY_BELOW_TEMPERATURE",
    "LARGEST_WEIGHT",
    "Candidates",
    "candidates",
    "choose",
    "cut_by_min_p",
    "cut_by_top_p",
    "kept_by_top_k",
    "weights",
]

GREEDY_BELOW_TEMPERATURE = 1e-5
# The likeliest token's weight: the others are as many times smaller as they are less likely. The
# sum of a row is exact in 64 bits for any vocabulary below 2^33.
LARGEST_WEIGHT = 2**30
# Tokens that are looked at first where the largest ones must be put in order.
_FEW = 128


@dataclass(frozen=True, slots=True)
class Candidates:
    """Tokens that can still be drawn.

    Attributes:
        weights_RW: Integers; 0 for tokens that cannot be drawn.
        ids_RW: Their ids, rising along a row; None where W is the vocabulary.
    """

    weights_RW: Tensor
    ids_RW: Tensor | None


def candidates(logits_RV: Tensor, *, temperatures: Sequence[float], top_k: int) -> Candidates:
    """The first two stages for rows that all keep ``top_k`` tokens; 0 keeps all of them.

    Args:
        logits_RV: After penalties, bias and bans; each row's maximum is finite.
        temperatures: Of each row, above zero.
        top_k: Exactly so many of the largest logits are kept, the lowest ids of a tie. Logits are
            compared before the division, whose rounding could make ties.
    """
    num_rows, vocabulary = logits_RV.shape
    if not 0 < top_k < vocabulary:
        return Candidates(weights(logits_RV, temperatures), None)
    ids_RW = kept_by_top_k(logits_RV, top_k).nonzero()[:, 1].view(num_rows, top_k)
    return Candidates(weights(logits_RV.gather(1, ids_RW), temperatures), ids_RW)


def weights(logits_RW: Tensor, temperatures: Sequence[float]) -> Tensor:
    """``exp((logit - largest) / temperature)`` in units of LARGEST_WEIGHT, rounded to integers."""
    temperatures_R1 = torch.tensor(temperatures, dtype=torch.float32, device=logits_RW.device)
    # The maximum goes first: the division of large logits by a small temperature cannot overflow.
    scaled_RW = (logits_RW - logits_RW.amax(1, keepdim=True)) / temperatures_R1[:, None]
    return (scaled_RW.double().exp_() * LARGEST_WEIGHT).round_().long()


def kept_by_top_k(logits_RV: Tensor, top_k: int) -> Tensor:
    """Mask [R, V] of exactly ``top_k`` tokens of each row."""
    nth_R1 = logits_RV.topk(top_k, dim=1).values[:, -1:]
    return _largest(logits_RV, nth_R1, torch.full_like(nth_R1, top_k, dtype=torch.long))


def cut_by_top_p(kept: Candidates, top_p: Sequence[float]) -> Candidates:
    """Keep the fewest of the heaviest tokens that reach ``top_p`` of the sum, at least one.

    Of equal weights the lower ids are kept. Rows whose ``top_p`` is 1 stay as they are.
    """
    rows = [row for row, each in enumerate(top_p) if each < 1.0]
    if not rows:
        return kept
    device = kept.weights_RW.device
    weights_QW = kept.weights_RW[rows] if len(rows) < len(top_p) else kept.weights_RW
    shares_Q = torch.tensor([top_p[row] for row in rows], dtype=torch.float64, device=device)
    limits_Q1 = (shares_Q * weights_QW.sum(1).double())[:, None]
    few = min(_FEW, weights_QW.shape[1])
    heaviest_QF = weights_QW.topk(few, dim=1).values
    if bool((heaviest_QF.sum(1).double() < limits_Q1[:, 0]).any()):
        heaviest_QF = weights_QW.sort(dim=1, descending=True).values
    before_QF = heaviest_QF.cumsum(1) - heaviest_QF
    counts_Q1 = (before_QF.double() < limits_Q1).sum(1, keepdim=True).clamp_(min=1)
    is_kept_QW = _largest(weights_QW, heaviest_QF.gather(1, counts_Q1 - 1), counts_Q1)
    cut_QW = weights_QW.masked_fill(~is_kept_QW, 0)
    if len(rows) == len(top_p):
        return replace(kept, weights_RW=cut_QW)
    weights_RW = kept.weights_RW.clone()
    weights_RW[rows] = cut_QW
    return replace(kept, weights_RW=weights_RW)


def cut_by_min_p(kept: Candidates, min_p: Sequence[float]) -> Candidates:
    """Keep tokens that are at least ``min_p`` times as likely as the likeliest."""
    if not any(min_p):
        return kept
    weights_RW = kept.weights_RW
    shares_R = torch.tensor(min_p, dtype=torch.float64, device=weights_RW.device)
    limits_R1 = (shares_R * weights_RW.amax(1).double())[:, None]
    return replace(kept, weights_RW=weights_RW.masked_fill(weights_RW.double() < limits_R1, 0))


def choose(kept: Candidates, words: Sequence[int]) -> list[int]:
    """The first id of each row whose running sum of weights passes the fraction of the total.

    Args:
        kept: At least one weight of each row is above 0.
        words: Of each row, from 0 to 2^32 - 1; the fraction is ``word / 2^32``.
    """
    running_RW = kept.weights_RW.cumsum(1)
    # Python's integers: the product has up to 96 bits.
    totals = cast("list[int]", running_RW[:, -1].tolist())
    thresholds = [(total * word) >> 32 for total, word in zip(totals, words, strict=True)]
    thresholds_R1 = torch.tensor(thresholds, device=running_RW.device)[:, None]
    places_R1 = torch.searchsorted(running_RW, thresholds_R1, right=True)
    if kept.ids_RW is not None:
        places_R1 = kept.ids_RW.gather(1, places_R1)
    return cast("list[int]", places_R1[:, 0].tolist())


def _largest(values_RW: Tensor, nth_R1: Tensor, counts_R1: Tensor) -> Tensor:
    """Mask of the ``counts_R1`` largest values of each row, the first ones of a tie.

    Args:
        values_RW: Without NaN.
        nth_R1: Of each row the smallest value that is among them.
        counts_R1: How many, at least 1.
    """
    above_RW = values_RW > nth_R1
    tied_RW = values_RW == nth_R1
    room_R1 = counts_R1 - above_RW.sum(1, keepdim=True)
    if bool((tied_RW.sum(1, keepdim=True) == room_R1).all()):
        return above_RW | tied_RW
    return above_RW | (tied_RW & (tied_RW.cumsum(1) <= room_R1))
