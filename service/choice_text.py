"""One choice of a request: tokens of the engine in, pieces for the client out.

It holds a token's report back together with the token.
"""

import codecs
from collections import deque
from collections.abc import Generator, Sequence

from service.detokenizer import Detokenizer
from service.engine.messages import EngineFinish, TokenLogprob, TokenOutput
from service.engine.trace_messages import TokenTrace
from service.generation import FinishReason, TextPiece, TokenReport
from service.glass_box.inspection import TokenInspection
from service.glass_box.trace_views import ByteSpans, view_trace
from service.models.model_store import ModelFolder
from service.parameters import EffectiveParameters

__all__ = ["ChoiceText", "prompt_pieces"]

PROMPT_PIECE_TOKENS = 256

# The other ways in which an engine ends a request are errors and end its stream.
_REASONS = {
    EngineFinish.END_OF_TEXT: FinishReason.END_OF_TEXT,
    EngineFinish.STOP: FinishReason.STOP,
    EngineFinish.LENGTH: FinishReason.LENGTH,
}


class ChoiceText:
    """The text of one choice.

    Args:
        choice: Its number, from 0.
        folder: The model's folder, which knows the bytes of tokens.
        parameters: Of the request.
        spans: Of the prompt, for a request that inspects what it makes; None for others.

    Attributes:
        is_finished: Whether its last piece was given.
    """

    def __init__(
        self,
        choice: int,
        folder: ModelFolder,
        parameters: EffectiveParameters,
        spans: ByteSpans | None = None,
    ) -> None:
        self.is_finished = False
        self._choice = choice
        self._folder = folder
        self._has_reports = parameters.logprobs is not None
        self._held_reports: deque[TokenReport] = deque()
        self._held_traces: deque[TokenTrace] = deque()
        self._spans = spans
        # Whether a piece tells its text and tokens, and nothing else.
        self._is_plain = not self._has_reports and spans is None
        self._detokenizer = Detokenizer(
            folder.token_bytes.__getitem__, stop=parameters.stop, min_tokens=parameters.min_tokens
        )

    def take(self, batch: TokenOutput) -> TextPiece | None:
        """The piece that a batch completes; None when nothing can be delivered yet."""
        assert not self.is_finished
        if self._is_plain and batch.token_ids and batch.finish is None:
            text = self._detokenizer.pass_on(batch.token_ids)
            if text is not None:
                return TextPiece(self._choice, text, tuple(batch.token_ids))
        if self._has_reports:
            self._held_reports += [
                _report(self._folder, token_id, logprob, self._folder.token_bytes[token_id])
                for token_id, logprob in zip(batch.token_ids, batch.logprobs or (), strict=True)
            ]
        if batch.traces:
            self._held_traces += batch.traces
        decoded = self._detokenizer.push(batch.token_ids)
        text, token_ids, is_stopped = decoded.text, decoded.token_ids, decoded.is_stopped
        if batch.finish is not None and not is_stopped:
            rest = self._detokenizer.finish()
            text, token_ids = text + rest.text, token_ids + rest.token_ids
            is_stopped = rest.is_stopped
        reason = None
        if is_stopped:
            reason = FinishReason.STOP
        elif batch.finish is not None:
            reason = _REASONS[batch.finish]
        self.is_finished = reason is not None
        if not text and not token_ids and reason is None:
            return None
        if self._is_plain:
            return TextPiece(self._choice, text, token_ids, finish_reason=reason)
        num_reports = len(token_ids) if self._has_reports else 0
        reports = tuple(self._held_reports.popleft() for _ in range(num_reports))
        return TextPiece(
            self._choice,
            text,
            token_ids,
            reports,
            finish_reason=reason,
            inspections=self._inspections(
                token_ids, is_complete=self.is_finished and not is_stopped
            ),
        )

    def _inspections(
        self, token_ids: Sequence[int], *, is_complete: bool
    ) -> tuple[TokenInspection, ...]:
        """Of some tokens that are delivered, and of the token that ended a complete text."""
        if self._spans is None:
            return ()
        inspections: list[TokenInspection] = []
        for token_id in token_ids:
            trace = self._held_traces.popleft()
            inspections.append(view_trace(trace, self._folder, self._spans.add(token_id)))
        if is_complete and self._held_traces:
            trace = self._held_traces.popleft()
            span = self._spans.add(trace.token_id)
            inspections.append(view_trace(trace, self._folder, span, ends_text=True))
        return tuple(inspections)


def prompt_pieces(
    folder: ModelFolder,
    prompt_ids: Sequence[int],
    logprobs: Sequence[TokenLogprob | None] | None,
) -> Generator[TextPiece]:
    """The prompt as the model reads it, which comes before each choice that echoes it.

    It comes in parts that take little time each, however long it is; they are those of choice 0.

    Args:
        logprobs: One for each id when they were asked for, None for the first.
    """
    # The first space of a text is notation of some tokenizers, whichever token brings it.
    strips = folder.tokenizer.strips_leading_space
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for start in range(0, len(prompt_ids), PROMPT_PIECE_TOKENS):
        ids = tuple(prompt_ids[start : start + PROMPT_PIECE_TOKENS])
        text, reports = "", list[TokenReport]()
        for index, token_id in enumerate(ids, start):
            data = folder.token_bytes[token_id]
            if strips and data:
                data, strips = data.removeprefix(b" "), False
            text += decoder.decode(data, final=index == len(prompt_ids) - 1)
            if logprobs is not None:
                reports.append(_report(folder, token_id, logprobs[index], data))
        yield TextPiece(0, text, ids, tuple(reports), is_prompt=True)


def _report(
    folder: ModelFolder, token_id: int, logprob: TokenLogprob | None, data: bytes
) -> TokenReport:
    if logprob is None:
        return TokenReport(token_id, data, None, None)
    top = tuple((rival, folder.token_bytes[rival], value) for rival, value in logprob.top)
    return TokenReport(token_id, data, logprob.logprob, logprob.rank, top)
