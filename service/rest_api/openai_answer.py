"""Answers of OpenAI's generating routes: one body, or chunks of nearly the same shape."""

import secrets
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

from service.errors import RequestError
from service.generation import FinishReason, GenerationRequest, TextPiece
from service.rest_api.openai_body import OpenAIBody
from service.rest_api.openai_logprobs import CompletionLogprobs, chat_logprobs
from service.rest_api.prompt_batch import BatchPiece

__all__ = ["ChatWords", "CompletionWords", "OpenAIAnswer"]

# Clients of this API know no other words.
_FINISH_REASONS = {
    FinishReason.END_OF_TEXT: "stop",
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
}


class Words(Protocol):
    """How a route writes what all of them say; it may remember what it has said of a choice."""

    @property
    def id_prefix(self) -> str:
        """What the answer's id begins with."""
        ...

    def kind(self, *, is_chunk: bool) -> str:
        """What the answer or a chunk of it calls itself."""
        ...

    def choice(
        self, index: int, pieces: Sequence[TextPiece], *, is_chunk: bool
    ) -> dict[str, object]:
        """Text and logprobs of a choice, or of the next pieces of it."""
        ...


class CompletionWords:
    """Those of /v1/completions."""

    id_prefix = "cmpl-"

    def __init__(self) -> None:
        self._logprobs: defaultdict[int, CompletionLogprobs] = defaultdict(CompletionLogprobs)

    def kind(self, *, is_chunk: bool) -> str:
        """The same for both."""
        del is_chunk
        return "text_completion"

    def choice(
        self, index: int, pieces: Sequence[TextPiece], *, is_chunk: bool
    ) -> dict[str, object]:
        """A text; offsets in its logprobs go on from chunk to chunk."""
        del is_chunk
        reports = [report for piece in pieces for report in piece.reports]
        return {
            "text": "".join(piece.text for piece in pieces),
            "logprobs": self._logprobs[index].write(reports) if reports else None,
        }


class ChatWords:
    """Those of /v1/chat/completions."""

    id_prefix = "chatcmpl-"

    def __init__(self) -> None:
        self._begun = set[int]()

    def kind(self, *, is_chunk: bool) -> str:
        """A chunk says that it is one."""
        return "chat.completion.chunk" if is_chunk else "chat.completion"

    def choice(
        self, index: int, pieces: Sequence[TextPiece], *, is_chunk: bool
    ) -> dict[str, object]:
        """A message, or what it goes on with; the first chunk of a choice says whose it is."""
        text = "".join(piece.text for piece in pieces)
        reports = [report for piece in pieces for report in piece.reports]
        logprobs = chat_logprobs(reports) if reports else None
        if not is_chunk:
            message = {"role": "assistant", "content": text, "refusal": None}
            return {"message": message, "logprobs": logprobs}
        delta: dict[str, object] = {"content": text} if text else {}
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", "content": text}
        return {"delta": delta, "logprobs": logprobs}


class OpenAIAnswer:
    """How one body is answered.

    Args:
        body: What was asked.
        words: How its route says it.
    """

    def __init__(self, body: OpenAIBody, words: Words) -> None:
        self._body = body
        self._words = words
        self._id = f"{words.id_prefix}{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._last: BatchPiece | None = None

    @property
    def requests(self) -> tuple[GenerationRequest, ...]:
        """One for each prompt."""
        return self._body.requests

    @property
    def is_streamed(self) -> bool:
        """Whether chunks are asked for."""
        return self._body.stream.is_streamed

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields that had no effect, if there were any."""
        ignored = ", ".join(self._body.ignored)
        return {"x-ignored-parameters": ignored} if ignored else {}

    def restate(self, error: RequestError) -> RequestError:
        """The error in the words of these routes, where a prompt of ids is a `prompt` too."""
        if error.field != "prompt_ids":
            return error
        message = error.message.replace("prompt_ids", "prompt", 1)
        return RequestError(error.kind, message, field="prompt", metadata=error.metadata)

    def event(self, piece: BatchPiece) -> object:
        """A chunk with one choice."""
        self._last = piece
        choice = self._choice(self._index(piece), [piece.piece], is_chunk=True)
        chunk = self._object([choice], is_chunk=True)
        if self._body.stream.has_usage_in_each:
            chunk["usage"] = self.usage()
        elif self._body.stream.has_usage_at_end:
            chunk["usage"] = None
        return chunk

    def last_events(self) -> tuple[object, ...]:
        """The chunk without choices that tells the usage, where it was asked for."""
        if not self._body.stream.has_usage_at_end:
            return ()
        return ({**self._object([], is_chunk=True), "usage": self.usage()},)

    def whole(self, pieces: list[BatchPiece]) -> object:
        """The body, its choices in the order of the prompts."""
        parts: defaultdict[int, list[TextPiece]] = defaultdict(list)
        for piece in pieces:
            self._last = piece
            parts[self._index(piece)].append(piece.piece)
        choices = [self._choice(index, parts[index], is_chunk=False) for index in sorted(parts)]
        return {**self._object(choices, is_chunk=False), "usage": self.usage()}

    def _index(self, piece: BatchPiece) -> int:
        return piece.prompt * self._body.num_choices + piece.piece.choice

    def _object(self, choices: list[dict[str, object]], *, is_chunk: bool) -> dict[str, object]:
        assert self._last is not None
        prepared = self._last.prepared
        return {
            "id": self._id,
            "object": self._words.kind(is_chunk=is_chunk),
            "created": self._created,
            # The name that answers for good: the same request to the bare name may meet a newer
            # version tomorrow.
            "model": f"{prepared.model_name}@{prepared.model_version}",
            "system_fingerprint": prepared.system_fingerprint,
            "choices": choices,
        }

    def _choice(self, index: int, pieces: list[TextPiece], *, is_chunk: bool) -> dict[str, object]:
        reason = pieces[-1].finish_reason
        return {
            "index": index,
            **self._words.choice(index, pieces, is_chunk=is_chunk),
            "finish_reason": None if reason is None else _FINISH_REASONS[reason],
        }

    def usage(self) -> dict[str, int]:
        """Tokens read and made so far, for all prompts and choices."""
        assert self._last is not None
        record = self._last.record
        return {
            "prompt_tokens": record.num_prompt_tokens,
            "completion_tokens": record.num_completion_tokens,
            "total_tokens": record.num_prompt_tokens + record.num_completion_tokens,
        }
