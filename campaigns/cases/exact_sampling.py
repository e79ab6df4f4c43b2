"""The distribution that a request asks for, straight from the definitions, in numpy.

Shares no code with the sampler: sorts and sums of f64, one row, no integers.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.engine.messages import Submit

__all__ = ["exact_probabilities"]

Vector = npt.NDArray[np.float64]


def exact_probabilities(
    logits_V: npt.NDArray[np.float32], request: Submit, output_ids: Sequence[int]
) -> Vector:
    """Probabilities [V] of the next token after a prompt and some tokens of its continuation."""
    x_V: Vector = logits_V.astype(np.float64)
    for token in set(request.prompt_ids) | set(output_ids):
        factor = request.repetition_penalty
        x_V[token] = x_V[token] / factor if x_V[token] > 0 else x_V[token] * factor
    for token in output_ids:
        x_V[token] -= request.frequency_penalty
    for token in set(output_ids):
        x_V[token] -= request.presence_penalty
    for token, bias in request.logit_bias:
        x_V[token] += bias
    if len(output_ids) < request.min_tokens:
        x_V[[*request.end_token_ids, *request.stop_token_ids]] = -np.inf
    likeliest_first = np.lexsort((np.arange(x_V.size), -x_V))
    kept_V = np.zeros(x_V.size, dtype=np.bool_)
    if request.temperature < 1e-5:
        kept_V[likeliest_first[0]] = True
        return kept_V.astype(np.float64)
    kept_V[likeliest_first[: request.top_k or None]] = True
    p_V = _softmax(np.where(kept_V, x_V / request.temperature, -np.inf))
    if request.top_p < 1.0:
        total = 0.0
        for token in likeliest_first:
            if total >= request.top_p:
                p_V[token] = 0.0
            total += p_V[token]
    p_V[p_V < request.min_p * p_V.max()] = 0.0
    return p_V / p_V.sum()


def _softmax(x_V: Vector) -> Vector:
    e_V: Vector = np.exp(x_V - x_V.max())
    return e_V / e_V.sum()
