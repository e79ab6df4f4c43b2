"""From one row of logits to the next token, in the order that the documentation states.

Penalties, bias and bans, temperature, top-k, top-p, min-p, renormalise, then the inverse of the
cumulative distribution at one random number. Probabilities become integers first, so the sum runs
exactly, in id order, and the same everywhere. V is the vocabulary.
"""

import torch
from torch import Tensor

from service.engine.random_numbers import random_word
from service.engine.request import Sequence

__all__ = ["NumericalError", "choose_token", "kept_weights"]

GREEDY_BELOW_TEMPERATURE = 1e-5
# Probabilities are counted in units of 2^-30: their sum stays below 2^31, so that its product with
# a 32-bit random number fits 64 bits.
WEIGHT_SCALE = 2**30


class NumericalError(ArithmeticError):
    """Logits that define no distribution: NaN, plus infinity, or nothing above minus infinity."""


def choose_token(logits_V: Tensor, sequence: Sequence) -> int:
    """The next token of a sequence.

    Args:
        logits_V: Raw logits in f32 on the CPU; not changed.
        sequence: Its request says how, its length gives the random number.

    Raises:
        NumericalError: The row is unusable.
    """
    request = sequence.request
    # The maximum of a row with a NaN is NaN.
    if not torch.isfinite(logits_V.max()):
        raise NumericalError("the logits hold no finite maximum")
    logits_V = _penalized(logits_V, sequence)
    if request.temperature < GREEDY_BELOW_TEMPERATURE or request.top_k == 1:
        return int(logits_V.argmax())
    weights_V = kept_weights(
        logits_V,
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        min_p=request.min_p,
    )
    word = random_word(request.seed, sample_index=0, position=len(sequence.token_ids))
    return _inverse_cumulative(weights_V, word)


def kept_weights(
    logits_V: Tensor, *, temperature: float, top_k: int, top_p: float, min_p: float
) -> Tensor:
    """Integer weights of the tokens that can be drawn, zero for all others.

    Args:
        logits_V: After penalties, bias and bans; f32.
        temperature: Above zero.
        top_k: 0 is off; all that tie with the k-th stay.
        top_p: 1 is off; ties at the edge fall to the lower ids.
        min_p: 0 is off; a fraction of the likeliest token's probability.
    """
    # The maximum goes first: the division of large logits by a small temperature cannot overflow.
    logits_V = (logits_V - logits_V.max()) / temperature
    if 0 < top_k < logits_V.numel():
        kth_largest = logits_V.topk(top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < kth_largest, float("-inf"))
    weights_V = _integer_weights(logits_V)
    if top_p < 1.0:
        sorted_V, order_V = weights_V.sort(descending=True, stable=True)
        before_V = sorted_V.cumsum(0) - sorted_V
        outside_V = order_V[before_V >= top_p * float(sorted_V.sum())]
        # The likeliest token stays whatever top_p is.
        outside_V = outside_V[outside_V != order_V[0]]
        weights_V = weights_V.index_fill(0, outside_V, 0)
    if min_p > 0.0:
        weights_V = weights_V.masked_fill(weights_V < min_p * float(weights_V.max()), 0)
    return weights_V


def _penalized(logits_V: Tensor, sequence: Sequence) -> Tensor:
    request = sequence.request
    vocabulary = logits_V.numel()
    if request.repetition_penalty != 1.0:
        seen_V = torch.bincount(torch.tensor(sequence.token_ids), minlength=vocabulary) > 0
        factor = request.repetition_penalty
        changed_V = torch.where(logits_V > 0, logits_V / factor, logits_V * factor)
        logits_V = torch.where(seen_V, changed_V, logits_V)
    if request.presence_penalty != 0.0 or request.frequency_penalty != 0.0:
        output_ids = torch.tensor(sequence.output_ids, dtype=torch.long)
        counts_V = torch.bincount(output_ids, minlength=vocabulary)
        logits_V = logits_V - request.presence_penalty * (counts_V > 0).float()
        logits_V = logits_V - request.frequency_penalty * counts_V.float()
    if request.logit_bias:
        ids = torch.tensor([token_id for token_id, _ in request.logit_bias])
        bias = torch.tensor([bias for _, bias in request.logit_bias])
        logits_V = logits_V.index_add(0, ids, bias)
    if sequence.banned_ids:
        logits_V = logits_V.index_fill(0, torch.tensor(sequence.banned_ids), float("-inf"))
        if torch.isneginf(logits_V.max()):
            raise NumericalError("every token is banned")
    return logits_V


def _integer_weights(logits_V: Tensor) -> Tensor:
    probabilities_V = logits_V.double().softmax(dim=-1)
    return (probabilities_V * WEIGHT_SCALE).round().long()


def _inverse_cumulative(weights_V: Tensor, word: int) -> int:
    """The first id whose running sum of weights passes the fraction word / 2^32 of the total."""
    running_V = weights_V.cumsum(0)
    threshold = (int(running_V[-1]) * word) >> 32
    return int(torch.searchsorted(running_V, threshold, right=True))
