"""How one token was chosen, stage by stage: what the inspection of a request shows.

Made of the same stages as `sampler.sample`, so that what it shows is what happened. Shape letter:
V vocabulary.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from service.engine.logit_stages import ChangedLogits, with_bias_and_bans, with_penalties
from service.engine.logprobs import NumericalError, check_rows
from service.engine.random_numbers import random_words
from service.engine.request import Sequence
from service.engine.sampler import random_place
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

__all__ = ["SamplingTrace", "TracedStage", "trace_sampling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStage:
    """The distribution after one stage.

    Attributes:
        name: "model", "penalties", "bias", "temperature", "top_k", "top_p" or "min_p".
        logits_V: f32; None for the stages that only remove tokens.
        probabilities_V: f64, they add up to 1; 0 for what cannot be drawn.
        removed_ids: Tokens that could be drawn before this stage and not after it.
    """

    name: str
    logits_V: Tensor | None
    probabilities_V: Tensor
    removed_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingTrace:
    """From the model's logits to one token.

    Attributes:
        stages: In their order, all of them, also those that changed nothing.
        random_word: The number from 0 to 2^32 - 1 that chose: the token is the first whose
            probability, summed up in id order over the last stage, passes ``random_word / 2^32``.
        token_id: The chosen token.
    """

    stages: tuple[TracedStage, ...]
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
    stages: list[TracedStage] = []

    def add(name: str, probabilities_V: Tensor, shown_V: Tensor | None = None) -> None:
        removed_V = torch.zeros_like(probabilities_V, dtype=torch.bool)
        if stages:
            removed_V = (stages[-1].probabilities_V > 0) & (probabilities_V == 0)
        ids = cast("list[int]", removed_V.nonzero()[:, 0].tolist())
        stages.append(
            TracedStage(
                name=name,
                logits_V=shown_V,
                probabilities_V=probabilities_V,
                removed_ids=tuple(ids),
            )
        )

    logits_1V = logits_V[None]
    _refuse_unusable(logits_1V)
    add("model", _softmax(logits_1V), logits_V)
    logits_1V = _changed(with_penalties(logits_1V, [sequence]))
    add("penalties", _softmax(logits_1V), logits_1V[0])
    logits_1V = _changed(with_bias_and_bans(logits_1V, [sequence]))
    add("bias", _softmax(logits_1V), logits_1V[0])
    if request.temperature < GREEDY_BELOW_TEMPERATURE:
        kept = Candidates(torch.zeros_like(logits_1V, dtype=torch.long), None)
        kept.weights_RW[0, logits_1V[0].argmax()] = LARGEST_WEIGHT
        add("temperature", _shares(kept))
    else:
        kept = Candidates(weights(logits_1V, [request.temperature]), None)
        add("temperature", _shares(kept), logits_1V[0] / request.temperature)
    if 0 < request.top_k < logits_V.numel():
        removed_1V = ~kept_by_top_k(logits_1V, request.top_k)
        kept = Candidates(kept.weights_RW.masked_fill(removed_1V, 0), None)
    add("top_k", _shares(kept))
    kept = cut_by_top_p(kept, [request.top_p])
    add("top_p", _shares(kept))
    kept = cut_by_min_p(kept, [request.min_p])
    add("min_p", _shares(kept))
    (word,) = random_words([random_place(sequence)])
    return SamplingTrace(stages=tuple(stages), random_word=word, token_id=choose(kept, [word])[0])


def _changed(changed: ChangedLogits) -> Tensor:
    for error in changed.errors.values():
        raise error
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
