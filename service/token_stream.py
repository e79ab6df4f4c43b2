"""Tokens of one request on their way from the engine to a reader who may be slow.

What is not taken waits here, merged by choice, and is bounded: when too much waits, the engine is
told to pause the request, and a reader who still takes nothing is given up.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from service.engine.messages import (
    Cancel,
    EngineFinish,
    Pause,
    Resume,
    Submit,
    TokenLogprob,
    TokenOutput,
)
from service.engine.trace_messages import TokenTrace
from service.errors import ErrorKind, RequestError

__all__ = ["READER_SECONDS", "TokenBatch", "TokenStream"]

# Tokens that may wait before the engine pauses; a few more arrive until it has heard of it. A step
# of a request with many choices alone brings that many.
MAX_WAITING_TOKENS = 256
MAX_WAITING_STEPS = 4
# So many candidates of an inspection weigh as much as a token does.
CANDIDATES_PER_TOKEN = 32
# What must be left of them before it goes on.
RESUME_FRACTION = 4
# A paused request keeps its memory in the engine; its reader has this long to take something.
READER_SECONDS = 30.0

_FAILURES = {
    EngineFinish.NUMERICAL_ERROR: (
        ErrorKind.NUMERICAL_ERROR,
        "the model's numbers became unusable",
    ),
    EngineFinish.INTERNAL_ERROR: (ErrorKind.INTERNAL_ERROR, "internal error"),
    EngineFinish.DEADLINE: (
        ErrorKind.DEADLINE_EXCEEDED,
        "the deadline passed before the text was complete",
    ),
}


@dataclass(slots=True)
class TokenBatch:
    """Tokens of one choice since its last batch.

    Attributes:
        finish: Set on the choice's last batch.
        logprobs: One for each of `token_ids` when the request asked for them, else empty.
        prompt_logprobs: Once for a request that asked for them, with the first batch of choice 0.
        traces: One for each of `token_ids` when the request inspects what it makes, and one more
            for the token that ended the text; else empty.
        prompt_traces: Of tokens of the prompt that the request inspects, since its last batch.
    """

    choice: int
    token_ids: list[int] = field(default_factory=list[int])
    finish: EngineFinish | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    prompt_logprobs: list[TokenLogprob | None] | None = None
    traces: list[TokenTrace] = field(default_factory=list[TokenTrace])
    prompt_traces: list[TokenTrace] = field(default_factory=list[TokenTrace])

    @property
    def num_tokens(self) -> int:
        """Tokens that it tells of."""
        return len(self.token_ids) + len(self.prompt_traces)


class TokenStream:
    """One request in an engine: iterate it for its batches; leaving its block cancels it.

    Args:
        request: With the number that the engine knows it by.
        deadline: Loop time at which it ends with DEADLINE_EXCEEDED, whatever the engine does.
        send: Tells the engine something.
        on_over: Called once, when nothing more is expected from the engine.
        reader_seconds: How long a paused request waits for its reader's next sign of life.

    Attributes:
        started_at: `time.monotonic` seconds at which it entered the batch, None before.
    """

    def __init__(
        self,
        request: Submit,
        *,
        deadline: float,
        send: Callable[[Cancel | Pause | Resume], None],
        on_over: Callable[[], None],
        reader_seconds: float = READER_SECONDS,
    ) -> None:
        self.started_at: float | None = None
        self._request_id = request.request_id
        self._send = send
        self._on_over = on_over
        self._reader_seconds = reader_seconds
        self._computed = set(range(request.num_choices))
        self._waiting: dict[int, TokenBatch] = {}
        self._num_waiting = 0
        inspection = request.inspect
        num_candidates = 0 if inspection is None else inspection.num_candidates
        max_tokens = MAX_WAITING_TOKENS // (1 + num_candidates // CANDIDATES_PER_TOKEN)
        self._max_waiting = max(max_tokens, MAX_WAITING_STEPS * request.num_choices)
        self._error: RequestError | None = None
        self._is_over = False
        self._arrived = asyncio.Event()
        self._deadline_timer = asyncio.get_running_loop().call_at(deadline, self._expire)
        # Runs exactly while the engine pauses.
        self._reader_timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadline_timer.cancel()
        self._end_computing()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TokenBatch:
        """The next batch of any choice.

        Raises:
            RequestError: The request failed, or the engine was lost.
            StopAsyncIteration: Every choice is finished or was cancelled.
        """
        while self._error is None and not self._waiting:
            if not self._computed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        if self._error is not None:
            raise self._error
        batch = self._waiting.pop(next(iter(self._waiting)))
        self._note_taken(batch)
        return batch

    def cancel_choice(self, choice: int) -> None:
        """One choice is no longer wanted; the others go on."""
        if (batch := self._waiting.pop(choice, None)) is not None:
            self._note_taken(batch)
        if choice in self._computed:
            if self._computed == {choice}:
                self._end_computing()
            else:
                self._computed.remove(choice)
                self._send(Cancel(self._request_id, choice))

    def note_started(self) -> None:
        """The engine has taken the request into its batch."""
        self.started_at = self.started_at or time.monotonic()

    def deliver(self, output: TokenOutput) -> None:
        """What the engine computed for one choice."""
        if output.choice not in self._computed:
            # Cancelled meanwhile.
            return
        if output.finish is not None and (failure := _FAILURES.get(output.finish)) is not None:
            self.fail(RequestError(*failure))
            return
        self.note_started()
        batch = self._waiting.setdefault(output.choice, TokenBatch(output.choice))
        batch.token_ids += output.token_ids
        batch.logprobs += output.logprobs or ()
        batch.prompt_logprobs = output.prompt_logprobs or batch.prompt_logprobs
        batch.traces += output.traces or ()
        batch.prompt_traces += output.prompt_traces or ()
        batch.finish = output.finish
        self._num_waiting += len(output.token_ids) + len(output.prompt_traces or ())
        self._arrived.set()
        if output.finish is not None:
            self._computed.remove(output.choice)
        if not self._computed:
            self._end_computing()
        elif self._num_waiting > self._max_waiting and self._reader_timer is None:
            self._send(Pause(self._request_id))
            self._start_reader_timer()

    def fail(self, error: RequestError) -> None:
        """End the request with an error, unless it has one already."""
        if self._error is None:
            self._error = error
            self._arrived.set()
            self._end_computing()

    def _note_taken(self, batch: TokenBatch) -> None:
        self._num_waiting -= batch.num_tokens
        if self._reader_timer is None:
            return
        self._stop_reader_timer()
        if self._num_waiting < self._max_waiting // RESUME_FRACTION:
            self._send(Resume(self._request_id))
        else:
            # One batch of many was read: slow, but not gone.
            self._start_reader_timer()

    def _end_computing(self) -> None:
        """Nothing more is expected from the engine; cancel what it still computes."""
        self._stop_reader_timer()
        if self._computed:
            self._computed.clear()
            self._send(Cancel(self._request_id))
        if not self._is_over:
            self._is_over = True
            self._on_over()

    def _start_reader_timer(self) -> None:
        self._reader_timer = asyncio.get_running_loop().call_later(
            self._reader_seconds, self._give_up
        )

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _expire(self) -> None:
        # The engine has the same deadline; this one holds while it is busy or frozen too.
        self.fail(RequestError(*_FAILURES[EngineFinish.DEADLINE]))

    def _give_up(self) -> None:
        self.fail(
            RequestError(
                ErrorKind.READER_TOO_SLOW,
                f"nothing was read for {self._reader_seconds:g} seconds while "
                f"{self._num_waiting} tokens waited",
            )
        )
