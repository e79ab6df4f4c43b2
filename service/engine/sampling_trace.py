"""How one token was chosen, stage by stage: what the inspection of a request shows.

Made of the same stages as `sampler.sample`, so that what it shows is what happened. Shape letter:
V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from service.engine.logit_stages import ChangedLogits, with_bias_and_bans, with_penalties
from service.engine.logprobs import NumericalError, check_rows
from service.engine.random_numbers import random_words
from service.engine.request import Sequence
from service.engine.trace_messages import STAGE_NAMES
from service.engine.weight_stages import (
    GREEDY_BELOW_TEMPERATURE,
    LARGEST_WEIGHT,
    Candidates,
    choose,
    cut_by_min_p,
    cut_by_top_p,
    kept_by_top_k,
    weights,
)

__all__ = ["SamplingTrace", "trace_sampling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingTrace:
    """From the model's logits to one token.

    Attributes:
        probabilities_V: f64 after each of STAGE_NAMES, they add up to 1; 0 for what cannot be
            drawn. A stage that changed nothing has the tensor of the one before.
        changed_logits_V: f32, after penalties and bias.
        weights_V: Integers, what the probabilities of the last stage are shares of.
        random_word: The number from 0 to 2^32 - 1 that chose: the token is the first whose
            weight, summed up in id order, passes ``random_word / 2^32`` of the sum of all.
        token_id: The chosen token.
    """

    probabilities_V: tuple[Tensor, ...]
    changed_logits_V: Tensor
    weights_V: Tensor
    random_word: int
    token_id: int


@torch.inference_mode()
def trace_sampling(logits_V: Tensor, sequence: Sequence) -> SamplingTrace:
    """Choose the next token of a sequence as ``sample`` does, and tell how.

    Args:
        logits_V: Raw logits in f32; not changed.
        sequence: As ``sample`` takes it.

    Raises:
        NumericalError: The logits define no distribution.
        ValueError: The request names a token beyond the vocabulary.
    """
    request = sequence.request
    raw_1V = logits_V[None]
    _refuse_unusable(raw_1V)
    penalised_1V = _changed(with_penalties(raw_1V, [sequence]), raw_1V)
    biased_1V = _changed(with_bias_and_bans(penalised_1V, [sequence]), penalised_1V)
    shares = [_softmax(raw_1V)]
    shares.append(shares[-1] if penalised_1V is raw_1V else _softmax(penalised_1V))
    shares.append(shares[-1] if biased_1V is penalised_1V else _softmax(biased_1V))
    if request.temperature < GREEDY_BELOW_TEMPERATURE:
        kept = Candidates(torch.zeros_like(biased_1V, dtype=torch.long), None)
        kept.weights_RW[0, biased_1V[0].argmax()] = LARGEST_WEIGHT
    else:
        kept = Candidates(weights(biased_1V, [request.temperature]), None)
    shares.append(_shares(kept))
    before = kept
    if 0 < request.top_k < logits_V.numel():
        removed_1V = ~kept_by_top_k(biased_1V, request.top_k)
        kept = Candidates(kept.weights_RW.masked_fill(removed_1V, 0), None)
    shares.append(shares[-1] if kept is before else _shares(kept))
    before, kept = kept, cut_by_top_p(kept, [request.top_p])
    shares.append(shares[-1] if kept is before else _shares(kept))
    before, kept = kept, cut_by_min_p(kept, [request.min_p])
    shares.append(shares[-1] if kept is before else _shares(kept))
    assert len(shares) == len(STAGE_NAMES)
    (word,) = random_words([sequence.random_place])
    return SamplingTrace(
        probabilities_V=tuple(shares),
        changed_logits_V=biased_1V[0],
        weights_V=kept.weights_RW[0],
        random_word=word,
        token_id=choose(kept, [word])[0],
    )


def _changed(changed: ChangedLogits, before_1V: Tensor) -> Tensor:
    for error in changed.errors.values():
        raise error
    if changed.logits_RV is not before_1V:
        _refuse_unusable(changed.logits_RV)
    return changed.logits_RV


def _refuse_unusable(logits_1V: Tensor) -> None:
    if not all(check_rows(logits_1V)):
        raise NumericalError("the logits hold NaN or have no finite maximum")


def _softmax(logits_1V: Tensor) -> Tensor:
    return logits_1V[0].double().softmax(0)


def _shares(kept: Candidates) -> Tensor:
    """Renormalised probabilities of what is kept."""
    weights_V = kept.weights_RW[0].double()
    return weights_V / weights_V.sum()
