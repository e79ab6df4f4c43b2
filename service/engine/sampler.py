"""From rows of logits to the next tokens, for a whole batch, in the order of the documentation.

Penalties, bias and bans, temperature, top-k, top-p, min-p, renormalise, then the inverse of the
cumulative distribution, in id order, at one random number. Rows are independent: each gives what
it would give alone, bit by bit, and what is wrong with one ends that one only. The compiled kernels
draw what they can (`drawn_natively.py`); here is the rule, and everything else. Shape letters: R
rows, V vocabulary.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

import msgspec
import torch
from torch import Tensor

from service.engine.drawn_natively import BAD_LOGITS, NOT_DRAWN, draw_natively
from service.engine.executor import Explain
from service.engine.logit_stages import with_bias_and_bans, with_penalties
from service.engine.logprobs import NumericalError, check_rows, token_logprobs
from service.engine.messages import EngineFinish, TokenLogprob
from service.engine.random_numbers import random_words
from service.engine.request import Sequence as TokenSequence
from service.engine.token_trace import trace_chosen
from service.engine.trace_messages import TokenTrace
from service.engine.weight_stages import (
    GREEDY_BELOW_TEMPERATURE,
    candidates,
    choose,
    cut_by_min_p,
    cut_by_top_p,
)

__all__ = ["Choice", "FailedChoice", "is_greedy", "sample"]

_MODELS = "the model's logits"
_CHANGED = "the logits after penalties, bias and bans"
_NO_EXPLANATIONS: Mapping[int, Explain] = MappingProxyType({})


class Choice(msgspec.Struct, frozen=True):
    """The next token of a sequence.

    Made for every row of every step, which is why it is no dataclass.

    Attributes:
        logprob: By the raw logits, where the request asks for it.
        trace: How it was chosen, where the request asks for it.
    """

    token_id: int
    logprob: TokenLogprob | None = None
    trace: TokenTrace | None = None


@dataclass(frozen=True, slots=True)
class FailedChoice:
    """A sequence has no next token, and ends."""

    error: Exception

    @property
    def finish(self) -> EngineFinish:
        """Why it ends."""
        if isinstance(self.error, NumericalError):
            return EngineFinish.NUMERICAL_ERROR
        return EngineFinish.INTERNAL_ERROR


def sample(
    logits_RV: Tensor,
    sequences: Sequence[TokenSequence],
    explanations: Mapping[int, Explain] = _NO_EXPLANATIONS,
) -> list[Choice | FailedChoice]:
    """The next token of each sequence.

    Args:
        logits_RV: Raw logits in f32 on any device; not changed.
        sequences: One for each row. The request says how, seed, choice and length of the sequence
            give the random number.
        explanations: Of an n-gram model, by row.
    """
    try:
        return _sample(logits_RV, sequences, explanations)
    except Exception:
        # Some row is at fault in a way that was not foreseen: find out which, one by one.
        return [
            _sample_alone(logits_RV[row : row + 1], each, explanations.get(row))
            for row, each in enumerate(sequences)
        ]


def is_greedy(sequence: TokenSequence) -> bool:
    """Whether the likeliest token is taken, whatever the random number."""
    request = sequence.request
    return request.temperature < GREEDY_BELOW_TEMPERATURE or request.top_k == 1


def _sample(
    logits_RV: Tensor, sequences: Sequence[TokenSequence], explanations: Mapping[int, Explain]
) -> list[Choice | FailedChoice]:
    """All rows at once: what was drawn natively, then the others in torch."""
    drawn = draw_natively(logits_RV, sequences)
    if drawn is None:
        return _sample_in_torch(logits_RV, sequences, explanations)
    results: list[Choice | FailedChoice] = [
        Choice(token_id)
        if token_id >= 0
        else FailedChoice(_no_distribution(_MODELS if token_id == BAD_LOGITS else _CHANGED))
        for token_id in drawn
    ]
    rest = [row for row, token_id in enumerate(drawn) if token_id == NOT_DRAWN]
    if rest:
        own = {place: explanations[row] for place, row in enumerate(rest) if row in explanations}
        sampled = _sample_in_torch(logits_RV[rest], [sequences[row] for row in rest], own)
        for row, result in zip(rest, sampled, strict=True):
            results[row] = result
    asking = {
        row: token_id
        for row, token_id in enumerate(drawn)
        if token_id >= 0 and sequences[row].request.logprobs is not None
    }
    for row, logprob in _logprobs(logits_RV, sequences, asking).items():
        results[row] = Choice(asking[row], logprob)
    return results


@torch.inference_mode()
def _sample_in_torch(
    logits_RV: Tensor, sequences: Sequence[TokenSequence], explanations: Mapping[int, Explain]
) -> list[Choice | FailedChoice]:
    results: list[Choice | FailedChoice | None] = [None] * len(sequences)

    def fail(rows: Sequence[int], bad: dict[int, Exception]) -> list[int]:
        for row, error in bad.items():
            results[rows[row]] = FailedChoice(error)
        return [row for row in range(len(rows)) if row not in bad]

    rows = fail(range(len(sequences)), _unusable(logits_RV, _MODELS))
    batch = [sequences[row] for row in rows]
    raw_RV = _picked(logits_RV, rows)
    penalised = with_penalties(raw_RV, batch)
    biased = with_bias_and_bans(penalised.logits_RV, batch)
    changed_RV = biased.logits_RV
    errors = biased.errors | penalised.errors
    if changed_RV is not raw_RV:
        errors = _unusable(changed_RV, _CHANGED) | errors
    good = fail(rows, errors)
    chosen = _choose(changed_RV, batch, good)
    logprobs = _logprobs(raw_RV, batch, chosen)
    for row, token_id in chosen.items():
        sampled = Choice(token_id, logprobs.get(row))
        results[rows[row]] = _traced(sampled, raw_RV[row], batch[row], explanations.get(rows[row]))
    assert all(result is not None for result in results)
    return [result for result in results if result is not None]


def _traced(
    choice: Choice, raw_V: Tensor, sequence: TokenSequence, explain: Explain | None
) -> Choice | FailedChoice:
    inspection = sequence.request.inspect
    if inspection is None or not sequence.traces_output:
        return choice
    try:
        trace = trace_chosen(raw_V, sequence, choice.token_id, inspection, explain)
    except Exception as error:
        # A choice that cannot be shown as it was made is not delivered.
        return FailedChoice(error)
    return msgspec.structs.replace(choice, trace=trace)


def _sample_alone(
    logits_1V: Tensor, sequence: TokenSequence, explain: Explain | None
) -> Choice | FailedChoice:
    try:
        own = {} if explain is None else {0: explain}
        return _sample_in_torch(logits_1V, [sequence], own)[0]
    except Exception as error:
        return FailedChoice(error)


def _unusable(logits_RV: Tensor, what: str) -> dict[int, Exception]:
    return {
        row: _no_distribution(what)
        for row, usable in enumerate(check_rows(logits_RV))
        if not usable
    }


def _no_distribution(what: str) -> NumericalError:
    return NumericalError(f"{what} hold NaN or have no finite maximum")


def _choose(
    logits_RV: Tensor, sequences: Sequence[TokenSequence], rows: Sequence[int]
) -> dict[int, int]:
    """Token id by row, for some rows; those of equal top-k are computed together."""
    chosen: dict[int, int] = {}
    greedy = [row for row in rows if is_greedy(sequences[row])]
    if greedy:
        # The first of equal maxima, which is the lowest id.
        likeliest = cast("list[int]", _picked(logits_RV, greedy).argmax(1).tolist())
        chosen |= zip(greedy, likeliest, strict=True)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row not in chosen:
            groups[sequences[row].request.top_k].append(row)
    for top_k, members in groups.items():
        requests = [sequences[row].request for row in members]
        kept = candidates(
            _picked(logits_RV, members),
            temperatures=[request.temperature for request in requests],
            top_k=top_k,
        )
        kept = cut_by_top_p(kept, [request.top_p for request in requests])
        kept = cut_by_min_p(kept, [request.min_p for request in requests])
        words = random_words([sequences[row].random_place for row in members])
        chosen |= zip(members, choose(kept, words), strict=True)
    return chosen


def _picked(logits_RV: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows in the order given; not a copy where these are all of them in their own order."""
    return logits_RV if list(rows) == list(range(logits_RV.shape[0])) else logits_RV[rows]


def _logprobs(
    raw_RV: Tensor, sequences: Sequence[TokenSequence], chosen: dict[int, int]
) -> dict[int, TokenLogprob]:
    """By row, for the rows that ask; as many rivals as the neighbours ask for are computed."""
    found: dict[int, TokenLogprob] = {}
    groups: defaultdict[int, list[int]] = defaultdict(list)
    # Rising, as ``_picked`` wants them; they were chosen group by group.
    for row in sorted(chosen):
        num_top = sequences[row].request.logprobs
        if num_top is not None:
            groups[num_top].append(row)
    for num_top, rows in groups.items():
        ids = [chosen[row] for row in rows]
        found |= zip(rows, token_logprobs(_picked(raw_RV, rows), ids, num_top=num_top), strict=True)
    return found
