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

from service.engine.messages import (
    Cancel,
    EngineFinish,
    Pause,
    Resume,
    Submit,
    TokenOutput,
)
from service.errors import ErrorKind, RequestError
from service.merged_outputs import merge_next
from service.outlet import Outlet

__all__ = ["READER_SECONDS", "TokenStream"]

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


class TokenStream:
    """One request in an engine: iterate it for its outputs; leaving its block cancels it.

    Those of a choice that wait together are one.

    Args:
        request: With the number that the engine knows it by.
        deadline: Loop time at which it ends with DEADLINE_EXCEEDED, whatever the engine does.
        send: Tells the engine something.
        on_ready: Called with the stream when something has come for a reader who waits; whoever is
            called sees to `hand_on` when all that came with it is here.
        on_over: Called once, when nothing more is expected from the engine.
        reader_seconds: How long a paused request waits for its reader's next sign of life.

    Attributes:
        request_id: The number that the engine knows it by.
        started_at: `time.monotonic` seconds at which it entered the batch, None before.
        outlet: Where batches go while the reader waits and it is open; not those of the end.
    """

    def __init__(
        self,
        request: Submit,
        *,
        deadline: float,
        send: Callable[[Cancel | Pause | Resume], None],
        on_ready: "Callable[[TokenStream], None]",
        on_over: Callable[[], None],
        reader_seconds: float = READER_SECONDS,
    ) -> None:
        self.request_id = request.request_id
        self.started_at: float | None = None
        self.outlet: Outlet[TokenOutput] | None = None
        self._send = send
        self._on_ready = on_ready
        self._on_over = on_over
        self._reader_seconds = reader_seconds
        self._computed = set(range(request.num_choices))
        self._waiting: dict[int, deque[TokenOutput]] = {}
        self._num_waiting = 0
        inspection = request.inspect
        # Whether what comes is tokens and nothing else.
        self._is_plain = (
            request.logprobs is None and not request.prompt_logprobs and inspection is None
        )
        num_candidates = 0 if inspection is None else inspection.num_candidates
        max_tokens = MAX_WAITING_TOKENS // (1 + num_candidates // CANDIDATES_PER_TOKEN)
        self._max_waiting = max(max_tokens, MAX_WAITING_STEPS * request.num_choices)
        self._error: RequestError | None = None
        self._is_over = False
        # What the reader waits for while nothing is here.
        self._arrival: asyncio.Future[None] | None = None
        # Whether `hand_on` is due.
        self._is_ready = False
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

    async def __anext__(self) -> TokenOutput:
        """What came next of any choice.

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
                self._send(Cancel(self.request_id, choice))

    def note_started(self) -> None:
        """The engine has taken the request into its batch."""
        self.started_at = self.started_at or time.monotonic()

    def pass_by(self, output: TokenOutput) -> bool:
        """Put what the engine computed through the outlet; False where it must be delivered."""
        outlet, arrival = self.outlet, self._arrival
        if (
            outlet is None
            or arrival is None
            or self._waiting
            or output.finish is not None
            or output.choice not in self._computed
            or arrival.done()
            or self.started_at is None
            or not outlet.is_open()
        ):
            return False
        outlet.put(output)
        return True

    def deliver(self, output: TokenOutput) -> None:
        """What the engine computed for one choice."""
        choice, finish = output.choice, output.finish
        if choice not in self._computed:
            # Cancelled meanwhile.
            return
        if finish is not None and (failure := _FAILURES.get(finish)) is not None:
            self.fail(RequestError(*failure))
            return
        if self.started_at is None:
            self.note_started()
        if (waiting := self._waiting.get(choice)) is None:
            self._waiting[choice] = deque((output,))
        else:
            waiting.append(output)
        self._num_waiting += len(output.token_ids)
        if output.prompt_traces is not None:
            self._num_waiting += len(output.prompt_traces)
        if finish is not None:
            # The reader learns of an end by itself.
            self.outlet = None
        if self._arrival is not None and not self._is_ready:
            self._is_ready = True
            self._on_ready(self)
        if finish is not None:
            self._computed.remove(choice)
            if not self._computed:
                self._end_computing()
                return
        if self._num_waiting > self._max_waiting and self._reader_timer is None:
            self._send(Pause(self.request_id))
            self._start_reader_timer()

    def hand_on(self) -> None:
        """Let the reader have what came: through the outlet, or by waking it."""
        self._is_ready = False
        if self._arrival is None or self._arrival.done():
            # Woken by an error, or about to leave.
            return
        outlet = self.outlet
        while self._waiting and outlet is not None and outlet.is_open():
            outlet.put(self._take(next(iter(self._waiting))))
        if self._waiting:
            self._wake_reader()

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

    def _take(self, choice: int) -> TokenOutput:
        """What waits for a choice, as one: all of it, unless that is very much."""
        waiting = self._waiting.pop(choice)
        output = waiting.popleft()
        if waiting:
            output = merge_next(
                output, waiting, max_tokens=MAX_BATCH_TOKENS, is_plain=self._is_plain
            )
            if waiting:
                # Behind the other choices, which have waited as long.
                self._waiting[choice] = waiting
        self._num_waiting -= len(output.token_ids)
        if output.prompt_traces is not None:
            self._num_waiting -= len(output.prompt_traces)
        if self._reader_timer is not None:
            self._note_taken()
        return output

    def _note_taken(self) -> None:
        if self._num_waiting < self._max_waiting // RESUME_FRACTION:
            self._stop_reader_timer()
            self._send(Resume(self.request_id))
        else:
            # One part of much was read: slow, but not gone.
            self._last_taken_at = self._loop.time()

    def _end_computing(self) -> None:
        """Nothing more is expected from the engine; cancel what it still computes."""
        self._stop_reader_timer()
        if self._computed:
            self._computed.clear()
            self._send(Cancel(self.request_id))
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
