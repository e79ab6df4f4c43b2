"""Several tokens of each stream in one step, where the executor draws them itself.

The host then has its work once for all of them, and does most of it while the device computes the
next; where pieces of prompts are in the step too, it prepares those. It is for plain streams: who
wants more of a token than its id, or changes its logits, makes the step an ordinary one.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from service.engine.block_tables import BlockTables
from service.engine.drawn_natively import native_settings
from service.engine.drawn_rows import DrawnRow, DrawsAhead
from service.engine.drawn_run import DrawnRun
from service.engine.executor import Executor
from service.engine.messages import EngineFinish, TokenOutput
from service.engine.request import Sequence
from service.engine.request_table import RequestTable
from service.engine.sampler import is_greedy
from service.engine.scheduler import Scheduler
from service.engine.step_pace import StepPace
from service.engine.step_plan import Chunk, StepPlan

__all__ = ["LookingAhead"]

_logger = logging.getLogger(__name__)

# Such steps that the device can make before the host must tell it more.
RUNS_AHEAD = 8
# First tokens of the prompts wait for the streams.
SECONDS_BESIDE_PROMPTS = 0.004
# Weight of the newest step in the running mean.
NEWEST = 0.2


class LookingAhead:
    """Computes the streams of a step that way, if the executor can.

    Args:
        executor: Computes the engine's steps.
        requests: Loses the sequences that end.
        scheduler: Is told what was computed.
        tables: Gives blocks for the tokens ahead.
        pace: Is told how many tokens of prompts are cheap.
        clock: Monotonic, in seconds.

    """

    def __init__(
        self,
        executor: Executor,
        requests: RequestTable,
        scheduler: Scheduler,
        tables: BlockTables,
        pace: StepPace,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num_steps = 1
        self._num_drawn = 0
        self._is_taken_up = False
        self._has_failed = False
        self._executor = executor if isinstance(executor, DrawsAhead) else None
        self._requests = requests
        self._scheduler = scheduler
        self._tables = tables
        self._pace = pace
        self._clock = clock
        self._seconds: float | None = None
        self._started: DrawnRun | None = None
        self._queued: DrawnRun | None = None
        if self._executor is not None:
            pace.least_prompt_tokens = self._executor.least_prompt_tokens
            pace.least_prompt_seconds = self._executor.least_prompt_seconds

    def start(self, plan: StepPlan) -> int:
        """Start the streams of a step; how many of its first chunks need nothing else.

        What of the step is left is computed before ``finish`` is called.
        """
        self._num_steps = 1
        self._is_taken_up = False
        queued, self._queued = self._queued, None
        has_failed, self._has_failed = self._has_failed, False
        if self._executor is None or plan.num_inspected or not plan.num_streams:
            return 0
        if has_failed:
            # An ordinary step shrinks, or finds out whose fault it is.
            return 0
        sequences = [chunk.sequence for chunk in plan.chunks[: plan.num_streams]]
        if not all(_is_plain(sequence) for sequence in sequences):
            # What was queued is computed once more.
            return 0
        is_alone = plan.num_prompt_tokens == 0
        if not is_alone and not self._executor.draws_beside_prompts:
            return 0
        if queued is not None and self._take_up(queued, sequences, is_alone=is_alone):
            return plan.num_streams
        most = max(_num_left(sequence) for sequence in sequences)
        in_time = self._steps_in(
            self._executor.seconds_ahead if is_alone else SECONDS_BESIDE_PROMPTS
        )
        num_steps = min(most, self._executor.max_steps_ahead, in_time)
        horizon = num_steps
        if is_alone and not self._scheduler.num_waiting:
            # Not more than half of the blocks that nobody else waits for.
            free_tokens = self._tables.num_free * self._tables.block_tokens // 2
            horizon = max(horizon, min(RUNS_AHEAD * num_steps, free_tokens // len(sequences)))
        began = self._clock()
        try:
            rows = [self._row(sequence, horizon) for sequence in sequences]
            drawn = self._executor.draw_ahead(rows, num_steps=num_steps)
        except Exception as error:
            # The ordinary step finds out whose fault it is.
            _logger.warning("looking ahead failed: %s", type(error).__name__)
            return 0
        self._started = DrawnRun(
            sequences=sequences,
            is_wanted=[True] * len(rows),
            starts=[row.start for row in rows],
            lasts=[row.last for row in rows],
            drawn=drawn,
            num_steps=num_steps,
            # What was queued in vain is computed first.
            began=began if is_alone and queued is None else None,
            may_go_on=is_alone,
        )
        return plan.num_streams

    def finish(self) -> list[TokenOutput]:
        """Take what the streams that were started gave, and let the device go on meanwhile."""
        run, self._started = self._started, None
        self._num_drawn = 0
        if run is None:
            return []
        befores = [len(sequence.token_ids) for sequence in run.sequences]
        num_made, num_drawn, finishes, error = run.append_drawn()
        self._num_drawn = sum(num_drawn)
        self._num_steps = max(1, num_made)
        if error is not None:
            _logger.warning("a run ahead failed: %s", type(error).__name__)
            self._has_failed = True
        elif run.began is not None:
            seconds = (self._clock() - run.began) / self._num_steps
            before = seconds if self._seconds is None else self._seconds
            self._seconds = before + NEWEST * (seconds - before)
        is_full = num_made == run.num_steps and not any(finishes) and all(num_drawn)
        if run.may_go_on and is_full and not self._scheduler.num_waiting:
            self._queue(run, num_drawn)
        return [
            self._output(sequence, befores[place], num_drawn[place], finishes[place])
            for place, sequence in enumerate(run.sequences)
            if run.is_wanted[place]
        ]

    def _take_up(self, queued: DrawnRun, sequences: list[Sequence], *, is_alone: bool) -> bool:
        """Make of a queued run the step's, without those who are not in the step any more.

        Whoever is new to the step waits for the next, which is none that was queued.
        """
        planned = set(map(id, sequences))
        is_wanted = [
            id(sequence) in planned and sequence.num_computed_tokens == start
            for sequence, start in zip(queued.sequences, queued.starts, strict=True)
        ]
        if not any(is_wanted):
            return False
        self._is_taken_up = True
        may_go_on = is_alone and all(is_wanted) and len(sequences) == len(is_wanted)
        self._started = replace(queued, is_wanted=is_wanted, may_go_on=may_go_on)
        return True

    def _queue(self, run: DrawnRun, num_drawn: list[int]) -> None:
        """Start the tokens after those of a run, before the host has told anybody about these."""
        assert self._executor is not None
        starts = [
            sequence.num_computed_tokens + number
            for sequence, number in zip(run.sequences, num_drawn, strict=True)
        ]
        covered = min(last - start for last, start in zip(run.lasts, starts, strict=True)) + 1
        in_time = self._steps_in(self._executor.seconds_ahead)
        num_steps = min(covered, self._executor.max_steps_ahead, in_time)
        if num_steps < 1:
            return
        try:
            drawn = self._executor.draw_on(num_steps=num_steps)
        except Exception as error:
            # What this step drew is told all the same, and the next one starts anew.
            _logger.warning("going on ahead failed: %s", type(error).__name__)
            return
        # Until it is taken up the host may do anything, or wait for a stream that goes on.
        self._queued = replace(run, starts=starts, drawn=drawn, num_steps=num_steps, began=None)

    def num_tokens(self, plan: StepPlan) -> int:
        """Tokens of streams that the last step computed and somebody gets."""
        return self._num_drawn or plan.num_streams

    def ordinary_seconds(self, plan: StepPlan, seconds: float) -> float:
        """What the last step would have taken with one token of each stream."""
        if plan.num_prompt_tokens == 0 or self._seconds is None:
            return seconds / self._num_steps
        if self._is_taken_up:
            # How much of it was computed before the step is not known: nothing is to be learnt.
            return self._pace.expected_seconds(
                num_streams=plan.num_streams, num_prompt_tokens=plan.num_prompt_tokens
            )
        return max(0.0, seconds - (self._num_steps - 1) * self._seconds)

    def _steps_in(self, seconds: float) -> int:
        return 1 if self._seconds is None else max(1, int(seconds / self._seconds))

    def _row(self, sequence: Sequence, num_tokens: int) -> DrawnRow:
        request, start = sequence.request, sequence.num_computed_tokens
        last = start + min(num_tokens, _num_left(sequence)) - 1
        # Without blocks for all of them it stops earlier.
        last = min(last, self._tables.grow_ahead(sequence, last + 1) - 1)
        is_sampled = not is_greedy(sequence)
        return DrawnRow(
            token_id=sequence.token_ids[start],
            start=start,
            last=last,
            block_ids=sequence.block_ids,
            temperature=request.temperature if is_sampled else 1.0,
            top_k=request.top_k if is_sampled else 1,
            top_p=request.top_p,
            min_p=request.min_p,
            seed=request.seed,
            sample=sequence.choice,
            native_settings=native_settings(sequence),
        )

    def _output(
        self, sequence: Sequence, num_before: int, num_drawn: int, finish: EngineFinish | None
    ) -> TokenOutput:
        token_ids = sequence.token_ids[num_before:]
        if num_drawn:
            start = sequence.num_computed_tokens
            self._scheduler.note_computed(Chunk(sequence, start, num_drawn, is_last=True))
            self._scheduler.note_proven(sequence)
        if finish is EngineFinish.NUMERICAL_ERROR:
            _logger.error("request %d ends: its logits define no token", sequence.request_id)
            self._requests.drop(sequence, is_poisoned=True)
        elif finish is not None:
            self._requests.drop(sequence)
        return TokenOutput(sequence.request_id, sequence.choice, token_ids, finish)


def _num_left(sequence: Sequence) -> int:
    return sequence.request.max_tokens - sequence.num_output_tokens


def _is_plain(sequence: Sequence) -> bool:
    """Whether ids are all that is wanted, drawn from the logits as they are."""
    request = sequence.request
    return (
        request.max_tokens > 0
        and request.logprobs is None
        and sequence.prompt_logprobs is None
        and request.repetition_penalty == 1.0
        and request.presence_penalty == 0.0
        and request.frequency_penalty == 0.0
        and not request.logit_bias
        and not sequence.is_inspected
        and not sequence.banned_ids
    )
