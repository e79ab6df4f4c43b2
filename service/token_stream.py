"""Tokens of one request on their way from the engine to a reader who may be slow.

What is not taken waits here, is merged by choice when it is, and is bounded: when too much waits,
the engine is told to pause the request, and a reader who still takes nothing is given up.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

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
# Tokens that one batch, and so one message to the client, is merged of at most.
MAX_BATCH_TOKENS = 512
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


class TokenBatch(msgspec.Struct):
    """Tokens of one choice since its last batch; a Struct, since there is one for each message.

    Attributes:
        finish: Set on the choice's last batch.
        logprobs: One for each of `token_ids` when the request asked for them, else empty.
        prompt_logprobs: Once for a request that asked for them, with the first batch of choice 0.
        traces: One for each of `token_ids` when the request inspects what it makes, and one more
            for the token that ended the text; else empty.
        prompt_traces: Of tokens of the prompt that the request inspects, since its last batch.
    """

    choice: int
    token_ids: list[int] = []
    finish: EngineFinish | None = None
    logprobs: list[TokenLogprob] = []
    prompt_logprobs: list[TokenLogprob | None] | None = None
    traces: list[TokenTrace] = []
    prompt_traces: list[TokenTrace] = []

    @property
    def num_tokens(self) -> int:
        """Tokens that it tells of."""
        return len(self.token_ids) + len(self.prompt_traces)

    def add(self, output: TokenOutput) -> None:
        """Take in what came next."""
        self.token_ids += output.token_ids
        self.finish = output.finish
        self.logprobs += output.logprobs or ()
        self.prompt_logprobs = output.prompt_logprobs or self.prompt_logprobs
        self.traces += output.traces or ()
        self.prompt_traces += output.prompt_traces or ()


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
        self._waiting: dict[int, deque[TokenOutput]] = {}
        self._num_waiting = 0
        inspection = request.inspect
        num_candidates = 0 if inspection is None else inspection.num_candidates
        max_tokens = MAX_WAITING_TOKENS // (1 + num_candidates // CANDIDATES_PER_TOKEN)
        self._max_waiting = max(max_tokens, MAX_WAITING_STEPS * request.num_choices)
        self._error: RequestError | None = None
        self._is_over = False
        # What the reader waits for while nothing is here.
        self._arrival: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._deadline_timer = self._loop.call_at(deadline, self._expire)
        self._last_taken_at = 0.0
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
            self._arrival = self._loop.create_future()
            await self._arrival
        if self._error is not None:
            raise self._error
        return self._take(next(iter(self._waiting)))

    def cancel_choice(self, choice: int) -> None:
        """One choice is no longer wanted; the others go on."""
        while choice in self._waiting:
            self._take(choice)
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
        if self.started_at is None:
            self.note_started()
        if (waiting := self._waiting.get(output.choice)) is None:
            self._waiting[output.choice] = deque((output,))
        else:
            waiting.append(output)
        self._num_waiting += len(output.token_ids) + len(output.prompt_traces or ())
        if self._arrival is not None:
            self._wake_reader()
        if output.finish is not None:
            self._computed.remove(output.choice)
            if not self._computed:
                self._end_computing()
                return
        if self._num_waiting > self._max_waiting and self._reader_timer is None:
            self._send(Pause(self._request_id))
            self._start_reader_timer()

    def fail(self, error: RequestError) -> None:
        """End the request with an error, unless it has one already."""
        if self._error is None:
            self._error = error
            self._wake_reader()
            self._end_computing()

    def _wake_reader(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    def _take(self, choice: int) -> TokenBatch:
        """What waits for a choice, as one batch: all of it, unless that is very much."""
        waiting = self._waiting.pop(choice)
        first = waiting.popleft()
        batch = TokenBatch(
            choice,
            first.token_ids,
            first.finish,
            first.logprobs or [],
            first.prompt_logprobs,
            first.traces or [],
            first.prompt_traces or [],
        )
        while waiting:
            if batch.num_tokens >= MAX_BATCH_TOKENS:
                # Behind the other choices, which have waited as long.
                self._waiting[choice] = waiting
                break
            batch.add(waiting.popleft())
        self._note_taken(batch)
        return batch

    def _note_taken(self, batch: TokenBatch) -> None:
        self._num_waiting -= batch.num_tokens
        if self._reader_timer is None:
            return
        if self._num_waiting < self._max_waiting // RESUME_FRACTION:
            self._stop_reader_timer()
            self._send(Resume(self._request_id))
        else:
            # One batch of many was read: slow, but not gone.
            self._last_taken_at = self._loop.time()

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
        self._last_taken_at = self._loop.time()
        self._reader_timer = self._loop.call_later(self._reader_seconds, self._judge_reader)

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _expire(self) -> None:
        # The engine has the same deadline; this one holds while it is busy or frozen too.
        self.fail(RequestError(*_FAILURES[EngineFinish.DEADLINE]))

    def _judge_reader(self) -> None:
        # The timer is not started anew at each batch, of which there may be one a token.
        left = self._last_taken_at + self._reader_seconds - self._loop.time()
        if left > 0:
            self._reader_timer = self._loop.call_later(left, self._judge_reader)
        else:
            self._give_up()

    def _give_up(self) -> None:
        self.fail(
            RequestError(
                ErrorKind.READER_TOO_SLOW,
                f"nothing was read for {self._reader_seconds:g} seconds while "
                f"{self._num_waiting} tokens waited",
            )
        )
