"""How likely tokens were by the raw logits, before any stage of the sampler.

Shape letters: R rows, V vocabulary.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from service.engine.messages import TokenLogprob
from service.engine.weight_stages import kept_by_top_k

__all__ = ["LOWEST_LOGPROB", "NumericalError", "check_rows", "likeliest_ids", "token_logprobs"]

# JSON has no infinity (hazards H52).
LOWEST_LOGPROB = -9999.0
# Logits that are looked at together: a prompt's rows of a large vocabulary are many.
_LOGITS_AT_ONCE = 2**22


class NumericalError(ArithmeticError):
    """Logits that define no distribution: NaN, plus infinity, or nothing above minus infinity."""


def check_rows(logits_RV: Tensor) -> list[bool]:
    """Whether each row defines a distribution."""
    # The maximum of a row with a NaN is NaN.
    return cast("list[bool]", logits_RV.amax(1).isfinite().tolist())


def token_logprobs(
    logits_RV: Tensor, token_ids: Sequence[int], *, num_top: int
) -> list[TokenLogprob]:
    """Logarithm of the probability, rank and likeliest rivals of one token of each row.

    For the prompt: rows are the logits after its first, second, ... token, ``token_ids`` its
    second, third, ...

    Args:
        logits_RV: Raw, f32.
        token_ids: One of each row.
        num_top: Rivals to report, from 0 on; all of them where it is beyond the vocabulary.

    Raises:
        NumericalError: A row defines no distribution.
    """
    if not all(check_rows(logits_RV)):
        raise NumericalError("the logits hold NaN or have no finite maximum")
    num_rows = max(1, _LOGITS_AT_ONCE // logits_RV.shape[1])
    return [
        logprob
        for first in range(0, len(token_ids), num_rows)
        for logprob in _logprobs(
            logits_RV[first : first + num_rows],
            token_ids[first : first + num_rows],
            num_top=num_top,
        )
    ]


def likeliest_ids(logits_RV: Tensor, num_top: int) -> Tensor:
    """Ids [R, num_top] of the largest logits, the largest first, the lower id on a tie.

    Args:
        logits_RV: Without NaN.
        num_top: From 1 up to the vocabulary.
    """
    ids_RK = kept_by_top_k(logits_RV, num_top).nonzero()[:, 1].view(logits_RV.shape[0], num_top)
    # Ids rise, and a stable sort leaves those of equal logits so.
    order_RK = logits_RV.gather(1, ids_RK).sort(dim=1, descending=True, stable=True).indices
    return ids_RK.gather(1, order_RK)


def _logprobs(logits_RV: Tensor, token_ids: Sequence[int], *, num_top: int) -> list[TokenLogprob]:
    vocabulary = logits_RV.shape[1]
    num_top = min(num_top, vocabulary)
    logprobs_RV = logits_RV.double().log_softmax(1)
    ids_R1 = torch.tensor(token_ids, device=logits_RV.device)[:, None]
    chosen_R1 = logits_RV.gather(1, ids_R1)
    # The order of ranks is that of greedy choice: of equal logits the lower id is first.
    earlier_RV = torch.arange(vocabulary, device=logits_RV.device) < ids_R1
    ahead_RV = (logits_RV > chosen_R1) | ((logits_RV == chosen_R1) & earlier_RV)
    ranks = cast("list[int]", (ahead_RV.sum(1) + 1).tolist())
    values = cast("list[float]", _floored(logprobs_RV.gather(1, ids_R1)[:, 0]).tolist())
    tops = _likeliest(logits_RV, logprobs_RV, num_top)
    return [
        TokenLogprob(value, rank, top) for value, rank, top in zip(values, ranks, tops, strict=True)
    ]


def _likeliest(
    logits_RV: Tensor, logprobs_RV: Tensor, num_top: int
) -> list[list[tuple[int, float]]]:
    num_rows = logits_RV.shape[0]
    if num_top == 0:
        return [[] for _ in range(num_rows)]
    ids_RK = likeliest_ids(logits_RV, num_top)
    ids = cast("list[list[int]]", ids_RK.tolist())
    values = cast("list[list[float]]", _floored(logprobs_RV.gather(1, ids_RK)).tolist())
    return [list(zip(*row, strict=True)) for row in zip(ids, values, strict=True)]


def _floored(logprobs: Tensor) -> Tensor:
    return logprobs.clamp(min=LOWEST_LOGPROB)
