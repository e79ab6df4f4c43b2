"""The inner loop of serving: a plain synchronous object whose `step()` advances the whole batch.

No text, no sockets, no asyncio: the engine process wraps it, tests drive it by hand.
"""

import logging
import time

from torch import Tensor

from service.engine.messages import EngineFinish, StepOutput, Submit, TokenOutput
from service.engine.request import Sequence
from service.engine.runner import TokenRunner
from service.engine.sampler import NumericalError, choose_token
from service.engine.scheduler import Chunk, Scheduler

__all__ = ["Engine"]

_logger = logging.getLogger(__name__)


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
    def has_work(self) -> bool:
        """Whether a step would compute anything."""
        return self._scheduler.has_work

    def submit(self, request: Submit) -> None:
        """Queue a request. The front has validated it: ids, context and ranges fit."""
        self._scheduler.add(Sequence(request))

    def cancel(self, request_id: int) -> None:
        """Drop a request; unknown and finished ones are no error. No output follows."""
        self._scheduler.remove(request_id)
        self._started.discard(request_id)

    def step(self) -> StepOutput:
        """Compute one step for the batch, and choose a token for each sequence that is ready."""
        began = time.perf_counter()
        chunks = self._scheduler.schedule()
        running = {chunk.sequence.request_id for chunk in chunks}
        started_ids = sorted(running - self._started)
        self._started |= running
        logits = self._runner.logits(chunks)
        outputs = [
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
        )

    def check_conservation(self) -> None:
        """Raise AssertionError unless slots and bookkeeping add up."""
        self._scheduler.check_conservation()
        if not self._scheduler.has_work:
            assert not self._started, self._started

    def _advance(self, chunk: Chunk, logits_V: Tensor | None) -> TokenOutput | None:
        sequence = chunk.sequence
        sequence.num_computed_tokens += chunk.num_tokens
        if logits_V is None:
            return None
        num_before = len(sequence.token_ids)
        finish = self._choose(sequence, logits_V)
        if finish is not None:
            self._finish(sequence, finish)
        return TokenOutput(sequence.request_id, sequence.token_ids[num_before:], finish)

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
