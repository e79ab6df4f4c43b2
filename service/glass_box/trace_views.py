"""Traces of an engine as inspections that people can read. Torch-free."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from service.engine.trace_messages import STAGE_NAMES, NgramTrace, StageTrace, TokenTrace
from service.glass_box.inspection import (
    CandidateInspection,
    NgramInspection,
    NgramLevel,
    SamplingStage,
    StageInspection,
    TokenInspection,
)
from service.glass_box.token_views import view_token
from service.models.model_store import ModelFolder

__all__ = ["ByteSpans", "view_trace"]

# The engine's own bytes are read.
assert sys.byteorder == "little"
_STAGES = tuple(SamplingStage(name) for name in STAGE_NAMES)
# JSON has no infinity (hazards H52); logprobs end here as well.
_LOWEST_LOGIT = -9999.0


class ByteSpans:
    """Where the bytes of each token lie in those of all tokens of a text.

    Args:
        folder: Knows the bytes of tokens.
        token_ids: The text as far as it is.
    """

    def __init__(self, folder: ModelFolder, token_ids: Iterable[int]) -> None:
        self._folder = folder
        # The first space of a text is notation of some tokenizers, whichever token brings it.
        self._strips = folder.tokenizer.strips_leading_space
        self._end = 0
        for token_id in token_ids:
            self.add(token_id)

    @property
    def num_bytes(self) -> int:
        """Of all tokens so far."""
        return self._end

    def add(self, token_id: int) -> tuple[int, int]:
        """Go on by one token; where its bytes begin and end."""
        start, self._end = self.next(token_id)
        self._strips = self._strips and not self._folder.token_bytes[token_id]
        return start, self._end

    def next(self, token_id: int) -> tuple[int, int]:
        """Where the bytes of a token would begin and end if it came now."""
        data = self._folder.token_bytes[token_id]
        if self._strips:
            data = data.removeprefix(b" ")
        return self._end, self._end + len(data)


def view_trace(
    trace: TokenTrace, folder: ModelFolder, span: tuple[int, int], *, ends_text: bool = False
) -> TokenInspection:
    """One inspection.

    Args:
        trace: As the engine recorded it.
        folder: Knows the bytes of tokens.
        span: Where the token's bytes begin and end.
        ends_text: Whether it is none of the text's.
    """
    return TokenInspection(
        position=trace.position,
        token=view_token(folder, trace.token_id),
        byte_start=span[0],
        byte_end=span[1],
        ends_text=ends_text,
        stages=tuple(
            _view_stage(stage, each) for stage, each in zip(_STAGES, trace.stages, strict=True)
        ),
        candidates=_view_candidates(trace, folder),
        random_word=trace.random_word,
        drawn_token=view_token(folder, trace.drawn_id),
        rank=trace.rank,
        surprise_bits=trace.surprise_bits,
        chosen_probability=trace.probability,
        logits=trace.logits,
        ngram=None if trace.ngram is None else _view_ngram(trace.ngram, folder),
    )


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a trace says of each candidate; probabilities stage after stage, line starts first."""

    ids: Sequence[int]
    logits: Sequence[float]
    changed_logits: Sequence[float]
    probabilities: Sequence[float]
    lines: Sequence[float]


def _view_stage(stage: SamplingStage, trace: StageTrace) -> StageInspection:
    return StageInspection(
        stage=stage,
        num_kept=trace.num_kept,
        entropy_bits=trace.entropy_bits,
        other_probability=trace.other_probability,
    )


def _view_candidates(trace: TokenTrace, folder: ModelFolder) -> tuple[CandidateInspection, ...]:
    columns = _Columns(
        ids=_integers(trace.candidate_ids),
        logits=_numbers(trace.candidate_logits, "f"),
        changed_logits=_numbers(trace.changed_logits, "f"),
        probabilities=_numbers(trace.probabilities, "d"),
        lines=_numbers(trace.lines, "d"),
    )
    return tuple(_view_candidate(columns, place, folder) for place in range(len(columns.ids)))


def _view_candidate(columns: _Columns, place: int, folder: ModelFolder) -> CandidateInspection:
    num_candidates = len(columns.ids)
    probabilities = tuple(columns.probabilities[place::num_candidates])
    logit, changed = columns.logits[place], columns.changed_logits[place]
    # A ban is minus infinity, unless the model itself gives the token nothing.
    is_banned = changed == float("-inf") < logit
    return CandidateInspection(
        token=view_token(folder, columns.ids[place]),
        logit=max(logit, _LOWEST_LOGIT),
        changed_logit=None if is_banned else max(changed, _LOWEST_LOGIT),
        probabilities=probabilities,
        removed_by=_removed_by(probabilities),
        line_start=columns.lines[place],
        line_end=columns.lines[place + num_candidates],
    )


def _removed_by(probabilities: Sequence[float]) -> SamplingStage | None:
    """The first stage after which a token cannot be drawn any more."""
    for place in range(1, len(probabilities)):
        if probabilities[place] == 0.0 < probabilities[place - 1]:
            return _STAGES[place]
    return None


def _view_ngram(trace: NgramTrace, folder: ModelFolder) -> NgramInspection:
    return NgramInspection(
        order=trace.order,
        window=tuple(view_token(folder, token_id) for token_id in trace.window_ids),
        levels=tuple(
            NgramLevel(
                order=level.order,
                context_ids=tuple(level.context_ids),
                is_known_context=level.is_known_context,
                num_continuations=level.num_continuations,
                discounted_count=level.discounted_count,
                discounted_total=level.discounted_total,
                backoff=level.backoff,
                probability=level.probability,
            )
            for level in trace.levels
        ),
    )


def _integers(data: bytes) -> Sequence[int]:
    return memoryview(data).cast("I").tolist()


def _numbers(data: bytes, kind: Literal["f", "d"]) -> Sequence[float]:
    return memoryview(data).cast(kind).tolist()
