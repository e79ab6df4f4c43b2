"""Answers of OpenAI's /v1/completions: one body, or chunks of the same shape."""

import secrets
import time
from collections import defaultdict
from collections.abc import Mapping

from service.errors import RequestError
from service.generation import FinishReason, GenerationRequest, TextPiece
from service.rest_api.completion_logprobs import CompletionLogprobs
from service.rest_api.completion_messages import CompletionBody
from service.rest_api.prompt_batch import BatchPiece

__all__ = ["CompletionAnswer"]

# Clients of this API know no other words.
_FINISH_REASONS = {
    FinishReason.END_OF_TEXT: "stop",
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
}


class CompletionAnswer:
    """How one body of /v1/completions is answered."""

    def __init__(self, body: CompletionBody) -> None:
        self._body = body
        self._id = f"cmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._last: BatchPiece | None = None
        self._logprobs: defaultdict[int, CompletionLogprobs] = defaultdict(CompletionLogprobs)

    @property
    def requests(self) -> tuple[GenerationRequest, ...]:
        """One for each prompt."""
        return self._body.requests

    @property
    def is_streamed(self) -> bool:
        """Whether chunks are asked for."""
        return self._body.is_streamed

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields that had no effect, if there were any."""
        ignored = ", ".join(self._body.ignored)
        return {"x-ignored-parameters": ignored} if ignored else {}

    def restate(self, error: RequestError) -> RequestError:
        """The error in the words of this route, where a prompt of ids is a `prompt` too."""
        if error.field != "prompt_ids":
            return error
        message = error.message.replace("prompt_ids", "prompt", 1)
        return RequestError(error.kind, message, field="prompt", metadata=error.metadata)

    def event(self, piece: BatchPiece) -> object:
        """A chunk with one choice."""
        self._last = piece
        chunk = self._object([self._choice(self._index(piece), [piece.piece])])
        if self._body.has_usage_in_each:
            chunk["usage"] = self._usage()
        elif self._body.has_usage_at_end:
            chunk["usage"] = None
        return chunk

    def last_events(self) -> tuple[object, ...]:
        """The chunk without choices that tells the usage, where it was asked for."""
        if not self._body.has_usage_at_end:
            return ()
        return ({**self._object([]), "usage": self._usage()},)

    def whole(self, pieces: list[BatchPiece]) -> object:
        """The body, its choices in the order of the prompts."""
        parts: defaultdict[int, list[TextPiece]] = defaultdict(list)
        for piece in pieces:
            self._last = piece
            parts[self._index(piece)].append(piece.piece)
        choices = [self._choice(index, parts[index]) for index in sorted(parts)]
        return {**self._object(choices), "usage": self._usage()}

    def _index(self, piece: BatchPiece) -> int:
        return piece.prompt * self._body.num_choices + piece.piece.choice

    def _object(self, choices: list[dict[str, object]]) -> dict[str, object]:
        assert self._last is not None
        prepared = self._last.prepared
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            # The name that answers for good: the same request to the bare name may meet a newer
            # version tomorrow.
            "model": f"{prepared.model_name}@{prepared.model_version}",
            "system_fingerprint": prepared.system_fingerprint,
            "choices": choices,
        }

    def _choice(self, index: int, pieces: list[TextPiece]) -> dict[str, object]:
        reports = [report for piece in pieces for report in piece.reports]
        reason = pieces[-1].finish_reason
        return {
            "index": index,
            "text": "".join(piece.text for piece in pieces),
            "logprobs": self._logprobs[index].write(reports) if reports else None,
            "finish_reason": None if reason is None else _FINISH_REASONS[reason],
        }

    def _usage(self) -> dict[str, int]:
        assert self._last is not None
        record = self._last.record
        return {
            "prompt_tokens": record.num_prompt_tokens,
            "completion_tokens": record.num_completion_tokens,
            "total_tokens": record.num_prompt_tokens + record.num_completion_tokens,
        }
