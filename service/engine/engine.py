"""The inner loop of serving: a plain synchronous object whose `step()` advances the whole batch.

No text, no sockets, no asyncio: the engine process wraps it, tests drive it by hand.
"""

import logging
import time
from collections.abc import Callable

from service.engine.block_allocator import BlockAllocator
from service.engine.block_tables import BlockTables
from service.engine.executor import Executor
from service.engine.guarded_compute import ChunkResult, GuardedExecutor
from service.engine.inspection_pace import InspectionPace, Inspector
from service.engine.looking_ahead import LookingAhead
from service.engine.messages import (
    EngineFinish,
    ModelKind,
    StepCounters,
    StepOutput,
    Submit,
    TokenOutput,
)
from service.engine.request import Observer, Sequence
from service.engine.request_table import RequestTable
from service.engine.sampler import Choice, FailedChoice
from service.engine.scheduler import Scheduler
from service.engine.step_pace import StepPace
from service.engine.step_plan import StepPlan

__all__ = ["MAX_STEP_TOKENS", "Engine"]

_logger = logging.getLogger(__name__)

MAX_STEP_TOKENS = 1024


class Engine:
    """Continuous batching: sequences join and leave at every step.

    Args:
        executor: Computes logits over blocks.
        max_running: Sequences computed at once; more wait in order.
        max_step_tokens: Tokens computed in one step at most.
        clock: Monotonic, in seconds.
        kind: Which model of its process it computes.
        inspection_pace: That of the other models of its process; None where there is none.

    Attributes:
        kind: Which model it computes.
        inspection_pace: Its own, or that of all.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        max_running: int,
        max_step_tokens: int = MAX_STEP_TOKENS,
        clock: Callable[[], float] = time.monotonic,
        kind: ModelKind = ModelKind.TRANSFORMER,
        inspection_pace: InspectionPace | None = None,
    ) -> None:
        self.kind = kind
        self._executor = executor
        self._guarded = GuardedExecutor(executor)
        self._clock = clock
        self._tables = BlockTables(
            BlockAllocator(num_blocks=executor.num_blocks, block_tokens=executor.block_tokens)
        )
        self._pace = StepPace(max_step_tokens=max_step_tokens, is_fixed=executor.has_fixed_steps)
        is_network = kind is ModelKind.TRANSFORMER
        self._inspector = Inspector.NETWORK if is_network else Inspector.NGRAM
        self.inspection_pace = inspection_pace or InspectionPace()
        self._scheduler = Scheduler(
            max_running=max_running,
            tables=self._tables,
            pace=self._pace,
            inspection_pace=self.inspection_pace,
            inspector=self._inspector,
        )
        self._requests = RequestTable(self._scheduler, tables=self._tables, clock=clock)
        self._ahead = LookingAhead(
            executor, self._requests, self._scheduler, self._tables, self._pace, clock=clock
        )
        self._step = 0
        self._num_mixed_steps = 0
        self._num_computed_prompt_tokens = 0
        self._stalled_since: float | None = None

    @property
    def executor(self) -> Executor:
        """What computes its logits."""
        return self._executor

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
        """Blocks of the cache that a new sequence can take."""
        return self._tables.num_free

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache."""
        return self._tables.num_blocks

    @property
    def counters(self) -> StepCounters:
        """What happened since the start."""
        return StepCounters(
            num_reused_tokens=self._tables.num_reused_tokens,
            num_computed_prompt_tokens=self._num_computed_prompt_tokens,
            num_preemptions=self._scheduler.num_preemptions,
            num_chunked_prompts=self._scheduler.num_chunked_prompts,
            num_mixed_steps=self._num_mixed_steps,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no request is here."""
        return self._requests.is_empty

    @property
    def has_work(self) -> bool:
        """Whether a step would compute anything."""
        return self._scheduler.has_work

    @property
    def stalled_seconds(self) -> float:
        """For how long there has been work of which steps compute nothing; 0 when all is well."""
        return 0.0 if self._stalled_since is None else self._clock() - self._stalled_since

    def seconds_to_work(self) -> float | None:
        """How long a step would have nothing to do; None until a message comes."""
        return 0.0 if self.has_work else self._requests.seconds_to_deadline()

    def submit(self, request: Submit, *, observer: Observer | None = None) -> None:
        """Queue a request. The front has validated it: ids, context and ranges fit.

        Args:
            request: Of one choice, where there is an observer.
            observer: Looks at the inside of the network for it.

        Raises:
            UnsupportedRequestError: It asks for what is not offered.
        """
        self._requests.submit(request, observer=observer)

    def cancel(self, request_id: int, *, choice: int | None = None) -> None:
        """Drop a request or one of its choices; an unknown or finished one is no error.

        No output follows, and its blocks are free at once.
        """
        self._requests.cancel(request_id, choice=choice)

    def set_paused(self, request_id: int, *, is_paused: bool) -> None:
        """Stop or go on computing a request; an unknown or finished one is no error."""
        self._requests.set_paused(request_id, is_paused=is_paused)

    def step(self) -> StepOutput:
        """Compute one step for the batch, and choose a token for each sequence that is ready.

        Raises:
            EngineFailedError: Steps fail whatever they compute.
            ConservationError: The bookkeeping is broken.
        """
        began = self._clock()
        outputs = [
            self._end(sequence, EngineFinish.DEADLINE) for sequence in self._requests.expired()
        ]
        plan = self._scheduler.schedule()
        self._note_progress(is_stalled=not plan.chunks and not outputs and self.has_work)
        self._clear_blocks()
        outputs += self._compute(plan)
        self._clear_blocks()
        self._step += 1
        seconds = self._clock() - began
        self._note_cost(plan, seconds)
        self._num_computed_prompt_tokens += plan.num_prompt_tokens
        if plan.num_streams and plan.num_prompt_tokens:
            self._num_mixed_steps += 1
        return StepOutput(
            step=self._step,
            outputs=outputs,
            started_ids=sorted({sequence.request_id for sequence in plan.started}),
            num_running=self.num_running,
            num_waiting=self.num_waiting,
            num_tokens=self._ahead.num_tokens(plan) + plan.num_prompt_tokens,
            seconds=seconds,
            num_free_blocks=self.num_free_blocks,
            num_blocks=self.num_blocks,
            counters=self.counters,
            kind=self.kind,
        )

    def check_conservation(self) -> None:
        """Raise ConservationError unless blocks, queues and requests add up."""
        self._requests.check_conservation()

    def describe(self) -> str:
        """The state in one line for the log; counts only."""
        return (
            f"step {self._step}, {self.num_running} running, {self.num_waiting} waiting, "
            f"{self.num_free_blocks} of {self.num_blocks} blocks free: {self._requests.describe()}"
        )

    def _note_cost(self, plan: StepPlan, seconds: float) -> None:
        if plan.num_inspected == 0 and plan.chunks:
            self._pace.note(
                num_streams=plan.num_streams,
                num_prompt_tokens=plan.num_prompt_tokens,
                seconds=self._ahead.ordinary_seconds(plan, seconds),
            )
            self.inspection_pace.note_step(self.kind, seconds)
        elif plan.num_inspected:
            is_alone = plan.num_inspected == len(plan.chunks)
            added = seconds if is_alone else seconds - self._pace.stream_seconds
            self.inspection_pace.note_turn(self._inspector, added)

    def _note_progress(self, *, is_stalled: bool) -> None:
        if not is_stalled:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = self._clock()

    def _clear_blocks(self) -> None:
        # Before anything new is written: a block may have its next owner already.
        if block_ids := self._tables.take_uncleared():
            self._executor.clear_blocks(block_ids)

    def _compute(self, plan: StepPlan) -> list[TokenOutput]:
        rest = plan.chunks[self._ahead.start(plan) :]
        results = self._guarded.compute(rest) if rest else []
        outputs = [self._advance(result) for result in results]
        return [output for output in outputs if output is not None] + self._ahead.finish()

    def _advance(self, result: ChunkResult) -> TokenOutput | None:
        """Take what a chunk gave its sequence."""
        sequence, choice = result.chunk.sequence, result.choice
        if result.is_computed:
            self._scheduler.note_computed(result.chunk)
        if result.prompt_logprobs:
            sequence.note_prompt_logprobs(result.chunk.start + 1, result.prompt_logprobs)
        traces = list(result.prompt_traces) if result.prompt_traces else None
        if traces is not None:
            sequence.note_traced(len(traces))
        match choice:
            case Choice():
                self._scheduler.note_proven(sequence)
                num_before = len(sequence.token_ids)
                finish = sequence.append(choice.token_id)
                token_ids = sequence.token_ids[num_before:]
                if finish is not None:
                    self._requests.drop(sequence)
                return TokenOutput(
                    sequence.request_id,
                    sequence.choice,
                    token_ids,
                    finish,
                    None if choice.logprob is None else [choice.logprob] * len(token_ids),
                    sequence.take_prompt_logprobs(),
                    # That of a token that ends the text as well.
                    None if choice.trace is None else [choice.trace],
                    traces,
                )
            case FailedChoice(error):
                # Whatever is wrong with one request ends that request only; its neighbours go on.
                reason = type(error).__name__
                _logger.error("request %d ends: %s", sequence.request_id, reason, exc_info=error)
                return self._end(sequence, choice.finish, is_poisoned=True)
            case None:
                if traces is None:
                    return None
                return TokenOutput(sequence.request_id, sequence.choice, [], prompt_traces=traces)

    def _end(
        self, sequence: Sequence, finish: EngineFinish, *, is_poisoned: bool = False
    ) -> TokenOutput:
        self._requests.drop(sequence, is_poisoned=is_poisoned)
        return TokenOutput(sequence.request_id, sequence.choice, [], finish)
