"""The inner loop of serving: a plain synchronous object whose `step()` advances the whole batch.

No text, no sockets, no asyncio: the engine process wraps it, tests drive it by hand.
"""

import logging
import time

from torch import Tensor

from service.engine.messages import EngineFinish, StepCounters, StepOutput, Submit, TokenOutput
from service.engine.request import Sequence
from service.engine.runner import TokenRunner
from service.engine.sampler import NumericalError, choose_token
from service.engine.scheduler import Chunk, Scheduler

__all__ = ["Engine", "UnsupportedRequestError"]

_logger = logging.getLogger(__name__)


class UnsupportedRequestError(ValueError):
    """A request asks for what this engine does not offer."""


class Engine:
    """Continuous batching: sequences join and leave at every step.

    Args:
        runner: Computes logits; its cache has ``num_slots`` slots.
        num_slots: Sequences computed at once; more wait in order.
    """

    def __init__(self, runner: TokenRunner, *, num_slots: int) -> None:
        self._runner = runner
        self._scheduler = Scheduler(num_slots=num_slots)
        self._step = 0
        self._started: set[int] = set()

    @property
    def step_number(self) -> int:
        """Steps made so far."""
        return self._step

    @property
    def num_running(self) -> int:
        """Sequences in the batch."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Sequences in the queue."""
        return self._scheduler.num_waiting

    @property
    def num_free_blocks(self) -> int:
        """Blocks of the cache that a new sequence can take; a slot is one block for now."""
        return self._scheduler.num_slots - self._scheduler.num_running

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache."""
        return self._scheduler.num_slots

    @property
    def counters(self) -> StepCounters:
        """What happened since the start."""
        return StepCounters()

    @property
    def has_work(self) -> bool:
        """Whether a step would compute anything."""
        return self._scheduler.has_work

    def submit(self, request: Submit) -> None:
        """Queue a request. The front has validated it: ids, context and ranges fit.

        Raises:
            UnsupportedRequestError: It asks for what is not offered.
        """
        for name, is_asked in (
            ("num_choices", request.num_choices != 1),
            ("logprobs", request.logprobs is not None),
            ("prompt_logprobs", request.prompt_logprobs),
            ("max_tokens = 0", request.max_tokens == 0),
        ):
            if is_asked:
                raise UnsupportedRequestError(f"{name} is not offered")
        deadline = None
        if request.timeout_seconds is not None:
            deadline = time.monotonic() + request.timeout_seconds
        self._scheduler.add(Sequence(request, deadline=deadline))

    def cancel(self, request_id: int, *, choice: int | None = None) -> None:
        """Drop a request; unknown and finished ones are no error. No output follows."""
        if choice not in (None, 0):
            return
        self._scheduler.remove(request_id)
        self._started.discard(request_id)

    def set_paused(self, request_id: int, *, is_paused: bool) -> None:
        """Stop or go on computing a request; unknown and finished ones are no error."""
        for sequence in self._scheduler.sequences():
            if sequence.request_id == request_id:
                sequence.is_paused = is_paused

    def step(self) -> StepOutput:
        """Compute one step for the batch, and choose a token for each sequence that is ready."""
        began = time.perf_counter()
        expired = self._expire()
        chunks = self._scheduler.schedule()
        running = {chunk.sequence.request_id for chunk in chunks}
        started_ids = sorted(running - self._started)
        self._started |= running
        logits = self._runner.logits(chunks) if chunks else {}
        outputs = expired + [
            output
            for chunk in chunks
            if (output := self._advance(chunk, logits.get(chunk.sequence.request_id))) is not None
        ]
        self._step += 1
        return StepOutput(
            step=self._step,
            outputs=outputs,
            started_ids=started_ids,
            num_running=self._scheduler.num_running,
            num_waiting=self._scheduler.num_waiting,
            num_tokens=sum(chunk.num_tokens for chunk in chunks),
            seconds=time.perf_counter() - began,
            num_free_blocks=self.num_free_blocks,
            num_blocks=self.num_blocks,
            counters=self.counters,
        )

    def check_conservation(self) -> None:
        """Raise AssertionError unless slots and bookkeeping add up."""
        self._scheduler.check_conservation()
        if not self._scheduler.has_work:
            assert not self._started, self._started

    def _expire(self) -> list[TokenOutput]:
        now = time.monotonic()
        expired = [
            sequence.request_id
            for sequence in self._scheduler.sequences()
            if sequence.deadline is not None and now >= sequence.deadline
        ]
        for request_id in expired:
            self.cancel(request_id)
        return [TokenOutput(request_id, 0, [], EngineFinish.DEADLINE) for request_id in expired]

    def _advance(self, chunk: Chunk, logits_V: Tensor | None) -> TokenOutput | None:
        sequence = chunk.sequence
        sequence.num_computed_tokens += chunk.num_tokens
        if logits_V is None:
            return None
        num_before = len(sequence.token_ids)
        finish = self._choose(sequence, logits_V)
        if finish is not None:
            self._finish(sequence, finish)
        return TokenOutput(sequence.request_id, 0, sequence.token_ids[num_before:], finish)

    def _choose(self, sequence: Sequence, logits_V: Tensor) -> EngineFinish | None:
        try:
            return sequence.append(choose_token(logits_V, sequence))
        except NumericalError as error:
            _logger.error("request %d: %s", sequence.request_id, error)
            return EngineFinish.NUMERICAL_ERROR
        except Exception:
            # Whatever is wrong with one request ends that request only; its neighbours go on.
            _logger.exception("request %d: sampling failed", sequence.request_id)
            return EngineFinish.INTERNAL_ERROR

    def _finish(self, sequence: Sequence, finish: EngineFinish) -> None:
        self.cancel(sequence.request_id)
        if finish is EngineFinish.NUMERICAL_ERROR:
            assert sequence.slot is not None
            self._runner.clear_slot(sequence.slot)
