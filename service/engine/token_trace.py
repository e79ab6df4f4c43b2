"""A choice as it is reported: traced, held against the choice itself, and packed for the front.

Shape letters: V vocabulary, K candidates, S stages.
"""

import math
import sys
from typing import cast

import torch
from torch import Tensor

from service.engine.executor import Explain
from service.engine.logprobs import LOWEST_LOGPROB, likeliest_ids
from service.engine.request import Sequence
from service.engine.sampling_trace import SamplingTrace, trace_sampling
from service.engine.trace_messages import Inspection, StageTrace, TokenTrace

__all__ = ["TraceMismatchError", "trace_chosen", "trace_given"]

_TINY = sys.float_info.min
# The tensors' own bytes are sent.
assert sys.byteorder == "little"


class TraceMismatchError(RuntimeError):
    """The trace of a choice ends at another token: one of the two is wrong.

    Its message is logged, and has nothing of the text in it.
    """


def trace_chosen(
    logits_V: Tensor,
    sequence: Sequence,
    token_id: int,
    inspection: Inspection,
    explain: Explain | None = None,
) -> TokenTrace:
    """How ``sample`` chose the next token of a sequence.

    Args:
        logits_V: Raw logits in f32; not changed.
        sequence: As ``sample`` took it, before the token is appended.
        token_id: What it chose.
        inspection: What to report.
        explain: Of an n-gram model, where the logits come from.

    Raises:
        TraceMismatchError: The stages, taken one by one, choose another token.
    """
    trace = trace_sampling(logits_V, sequence)
    if trace.token_id != token_id:
        raise TraceMismatchError("the sampler chose another token than its trace")
    return _packed(trace, logits_V, sequence, token_id, inspection, explain)


def trace_given(
    logits_V: Tensor,
    sequence: Sequence,
    token_id: int | None,
    inspection: Inspection,
    explain: Explain | None = None,
) -> TokenTrace:
    """What ``sample`` would have done where a text has some token already.

    Args:
        logits_V: Raw logits in f32 after the tokens of the sequence; not changed.
        sequence: The text before the token.
        token_id: The token that is there; None is the one that would have been chosen.
        inspection: What to report.
        explain: Of an n-gram model, where the logits come from.

    Raises:
        NumericalError: The logits define no distribution.
    """
    trace = trace_sampling(logits_V, sequence)
    shown_id = trace.token_id if token_id is None else token_id
    return _packed(trace, logits_V, sequence, shown_id, inspection, explain)


@torch.inference_mode()
def _packed(
    trace: SamplingTrace,
    logits_V: Tensor,
    sequence: Sequence,
    token_id: int,
    inspection: Inspection,
    explain: Explain | None,
) -> TokenTrace:
    running_V = trace.weights_V.cumsum(0)
    _check_drawn(trace, running_V)
    ids_K = _candidates(logits_V, inspection.num_candidates, (token_id, trace.token_id))
    stages, shares_SK = _stages(trace, ids_K)
    total = running_V[-1].double()
    ends_K = running_V[ids_K].double()
    starts_K = ends_K - trace.weights_V[ids_K].double()
    logits_K = logits_V[ids_K]
    place = cast("list[int]", ids_K.tolist()).index(token_id)
    return TokenTrace(
        position=len(sequence.token_ids),
        token_id=token_id,
        drawn_id=trace.token_id,
        random_word=trace.random_word,
        rank=_rank(logits_V, token_id),
        surprise_bits=_surprise_bits(logits_V, token_id),
        probability=float(shares_SK[-1, place]),
        stages=stages,
        candidate_ids=_bytes(ids_K.to(torch.int32)),
        candidate_logits=_bytes(logits_K),
        changed_logits=_bytes(trace.changed_logits_V[ids_K]),
        probabilities=_bytes(shares_SK),
        lines=_bytes(torch.stack([starts_K, ends_K]) / total),
        logits=_bytes(logits_V) if inspection.wants_logits else b"",
        ngram=None if explain is None else explain(token_id),
    )


def _check_drawn(trace: SamplingTrace, running_V: Tensor) -> None:
    """Refuse a trace whose number does not lie in the part of the line of its token."""
    end, total = int(running_V[trace.token_id]), int(running_V[-1])
    start = end - int(trace.weights_V[trace.token_id])
    # Python's integers: the products have up to 96 bits.
    if not start << 32 <= total * trace.random_word < end << 32:
        raise TraceMismatchError("the random number does not choose the token of its trace")


def _candidates(logits_V: Tensor, num_likeliest: int, others: tuple[int, int]) -> Tensor:
    """Ids [K] of the likeliest tokens, and of some others behind them in the same order."""
    ids_1K = likeliest_ids(logits_V[None], min(num_likeliest, logits_V.numel()))
    found = set(cast("list[int]", ids_1K[0].tolist()))
    further = sorted(
        {token_id for token_id in others if token_id not in found},
        key=lambda token_id: (-float(logits_V[token_id]), token_id),
    )
    return torch.cat([ids_1K[0], ids_1K.new_tensor(further)])


def _rank(logits_V: Tensor, token_id: int) -> int:
    """1 for the likeliest token; of equal logits the lower id is first."""
    logit = logits_V[token_id]
    num_tied_before = (logits_V[:token_id] == logit).sum()
    return 1 + int((logits_V > logit).sum() + num_tied_before)


def _surprise_bits(logits_V: Tensor, token_id: int) -> float:
    scaled_V = logits_V.double()
    logprob = float(scaled_V[token_id] - scaled_V.logsumexp(0))
    return -max(logprob, LOWEST_LOGPROB) / math.log(2)


def _stages(trace: SamplingTrace, ids_K: Tensor) -> tuple[list[StageTrace], Tensor]:
    """What is said of each stage, and the probabilities [S, K] of some tokens."""
    # Many stages change nothing; what differs is computed together.
    places: list[int] = []
    distinct: list[Tensor] = []
    for shares_V in trace.probabilities_V:
        if not distinct or shares_V is not distinct[-1]:
            distinct.append(shares_V)
        places.append(len(distinct) - 1)
    shares_DV = torch.stack(distinct)
    shares_DK = shares_DV[:, ids_K]
    # A logarithm of 0 would be minus infinity: what cannot be drawn counts for nothing.
    entropies_D = (shares_DV * shares_DV.clamp(min=_TINY).log2()).sum(1).abs()
    others_D = (shares_DV.sum(1) - shares_DK.sum(1)).clamp(min=0.0)
    figures_3D = torch.stack([shares_DV.count_nonzero(1).double(), entropies_D, others_D])
    # One way from the device for all of them.
    rows = cast("list[list[float]]", figures_3D.T.tolist())
    traces = [StageTrace(int(num_kept), entropy, other) for num_kept, entropy, other in rows]
    return [traces[place] for place in places], shares_DK[places]


def _bytes(values: Tensor) -> bytes:
    return values.cpu().contiguous().numpy().tobytes()
