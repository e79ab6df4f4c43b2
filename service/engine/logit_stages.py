"""The stages of sampling that change logits: penalties, bias and bans, for many rows at once.

They touch few tokens of a row, so they work on places of the flat matrix. Shape letters: R rows, V
vocabulary.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from service.engine.request import Sequence as TokenSequence

__all__ = ["ChangedLogits", "with_bias_and_bans", "with_penalties"]


@dataclass(frozen=True, slots=True)
class ChangedLogits:
    """Logits after some stages.

    Attributes:
        logits_RV: The argument itself where nothing changed, else a copy.
        errors: By row, what was wrong with its request; the row's logits mean nothing then.
    """

    logits_RV: Tensor
    errors: dict[int, Exception]


@dataclass(slots=True)
class _Places:
    """Tokens of some rows with a number or two for each."""

    flat: list[int] = field(default_factory=list[int])
    first: list[float] = field(default_factory=list[float])
    second: list[float] = field(default_factory=list[float])

    def add(self, row: int, vocabulary: int, token_id: int, first: float, second: float) -> None:
        if not 0 <= token_id < vocabulary:
            raise ValueError(f"token ids must lie in 0..{vocabulary - 1}, got {token_id}")
        self.flat.append(row * vocabulary + token_id)
        self.first.append(first)
        self.second.append(second)


def with_penalties(logits_RV: Tensor, sequences: Sequence[TokenSequence]) -> ChangedLogits:
    """Repetition counts prompt and continuation; presence and frequency the continuation only."""
    vocabulary = logits_RV.shape[1]

    def repeated(row: int, sequence: TokenSequence, places: _Places) -> None:
        factor = sequence.request.repetition_penalty
        if factor != 1.0:
            for token_id in dict.fromkeys(sequence.token_ids):
                places.add(row, vocabulary, token_id, factor, 0.0)

    def counted(row: int, sequence: TokenSequence, places: _Places) -> None:
        presence = sequence.request.presence_penalty
        frequency = sequence.request.frequency_penalty
        if presence != 0.0 or frequency != 0.0:
            for token_id, count in Counter(sequence.output_ids).items():
                places.add(row, vocabulary, token_id, presence, frequency * count)

    def divide(logits: Tensor, factors: Tensor, _: Tensor) -> Tensor:
        return torch.where(logits > 0, logits / factors, logits * factors)

    def subtract(logits: Tensor, presence: Tensor, frequency: Tensor) -> Tensor:
        return logits - presence - frequency

    first = _changed(logits_RV, sequences, repeated, divide)
    second = _changed(first.logits_RV, sequences, counted, subtract)
    return ChangedLogits(second.logits_RV, first.errors | second.errors)


def with_bias_and_bans(logits_RV: Tensor, sequences: Sequence[TokenSequence]) -> ChangedLogits:
    """What the request adds to some tokens, and minus infinity for those that may not come."""
    vocabulary = logits_RV.shape[1]

    def biased(row: int, sequence: TokenSequence, places: _Places) -> None:
        for token_id, bias in dict(sequence.request.logit_bias).items():
            places.add(row, vocabulary, token_id, bias, 0.0)

    def banned(row: int, sequence: TokenSequence, places: _Places) -> None:
        for token_id in sequence.banned_ids:
            places.add(row, vocabulary, token_id, float("-inf"), 0.0)

    def add(logits: Tensor, bias: Tensor, _: Tensor) -> Tensor:
        return logits + bias

    def replace(_: Tensor, minus_infinity: Tensor, __: Tensor) -> Tensor:
        return minus_infinity

    first = _changed(logits_RV, sequences, biased, add)
    second = _changed(first.logits_RV, sequences, banned, replace)
    return ChangedLogits(second.logits_RV, first.errors | second.errors)


def _changed(
    logits_RV: Tensor,
    sequences: Sequence[TokenSequence],
    collect: Callable[[int, TokenSequence, _Places], None],
    change: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> ChangedLogits:
    """Change the places that each row's request names; a row that cannot is left out."""
    everything = _Places()
    errors: dict[int, Exception] = {}
    for row, sequence in enumerate(sequences):
        own = _Places()
        try:
            collect(row, sequence, own)
        except Exception as error:
            # Whatever is wrong with one request stays with that request.
            errors[row] = error
            continue
        everything.flat += own.flat
        everything.first += own.first
        everything.second += own.second
    if not everything.flat:
        return ChangedLogits(logits_RV, errors)
    changed_RV = logits_RV.clone()
    flat = torch.tensor(everything.flat, device=logits_RV.device)
    first = torch.tensor(everything.first, dtype=torch.float32, device=logits_RV.device)
    second = torch.tensor(everything.second, dtype=torch.float32, device=logits_RV.device)
    view = changed_RV.view(-1)
    view[flat] = change(view[flat], first, second)
    return ChangedLogits(changed_RV, errors)
