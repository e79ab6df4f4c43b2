"""Computing and sampling a step so that what fails for one request ends that request only.

A step that raises is computed again in halves, down to the chunk that cannot be computed: that also
is how a step that needs too much memory shrinks.
"""

import logging
from collections.abc import Mapping, Sequence

import msgspec
import torch
from msgspec.structs import replace
from torch import Tensor

from service.engine.executor import ChunkInput, ComputedStep, Executor, Explain, LogitsWanted
from service.engine.given_text import trace_text
from service.engine.logprobs import token_logprobs
from service.engine.messages import TokenLogprob
from service.engine.sampler import Choice, FailedChoice, sample
from service.engine.step_plan import Chunk
from service.engine.trace_messages import TokenTrace

__all__ = ["ChunkResult", "EngineFailedError", "GuardedExecutor", "is_out_of_memory"]

_logger = logging.getLogger(__name__)

# One chunk that fails alone may be a bad request; a second one right after it is no accident.
MAX_FAULTS_IN_A_ROW = 1
# Single requests may be too large for the memory that is left; not one after another.
MAX_FAILURES_IN_A_ROW = 8


class EngineFailedError(RuntimeError):
    """Nothing can be computed any more: the process must end and another one start."""


class ChunkResult(msgspec.Struct, frozen=True):
    """What became of one chunk.

    Made for every row of every step, which is why it is no dataclass.

    Attributes:
        is_computed: Whether its keys and values are in the cache.
        choice: The next token of a last chunk, or why its sequence must end; None when nothing was
            to be chosen.
        prompt_logprobs: Of the tokens after each of the chunk's own that belong to the prompt,
            where they were wanted.
        prompt_traces: Of those tokens that the request inspects.
    """

    chunk: Chunk
    is_computed: bool
    choice: Choice | FailedChoice | None = None
    prompt_logprobs: Sequence[TokenLogprob] = ()
    prompt_traces: Sequence[TokenTrace] = ()


class GuardedExecutor:
    """Computes steps of an executor, and tells the failure of a request from that of everything.

    Args:
        executor: Computes logits over blocks.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._num_faults_in_a_row = 0
        self._num_failures_in_a_row = 0

    def compute(self, chunks: Sequence[Chunk]) -> list[ChunkResult]:
        """Compute all chunks, in one go where possible, and choose the next tokens.

        Raises:
            EngineFailedError: Nothing could be computed, and not for the first time.
        """
        results = self._compute(chunks)
        if any(result.is_computed for result in results):
            self._num_faults_in_a_row = self._num_failures_in_a_row = 0
            return results
        for result in results:
            assert isinstance(result.choice, FailedChoice)
            error = result.choice.error
            self._num_failures_in_a_row += 1
            self._num_faults_in_a_row += not is_out_of_memory(error)
            if (
                self._num_faults_in_a_row > MAX_FAULTS_IN_A_ROW
                or self._num_failures_in_a_row > MAX_FAILURES_IN_A_ROW
            ):
                raise EngineFailedError("nothing can be computed") from error
        return results

    def _compute(self, chunks: Sequence[Chunk]) -> list[ChunkResult]:
        try:
            step = self._executor.compute([_chunk_input(chunk) for chunk in chunks])
        except Exception as error:
            _logger.warning(
                "a step of %d chunks and %d tokens failed: %s",
                len(chunks),
                sum(chunk.num_tokens for chunk in chunks),
                type(error).__name__,
            )
            if is_out_of_memory(error) and torch.cuda.is_initialized():
                torch.cuda.empty_cache()
            if len(chunks) == 1:
                return [ChunkResult(chunks[0], is_computed=False, choice=FailedChoice(error))]
        else:
            return _choose(chunks, step)
        # Outside the handler: the traceback would keep the failed step's tensors in memory.
        middle = len(chunks) // 2
        return self._compute(chunks[:middle]) + self._compute(chunks[middle:])


def is_out_of_memory(error: Exception) -> bool:
    """Whether less work might have fitted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # On the CPU torch has no class for it.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _chunk_input(chunk: Chunk) -> ChunkInput:
    sequence, start = chunk.sequence, chunk.start
    observer = sequence.observer
    if chunk.wants_all_logits:
        logits = LogitsWanted.ALL
    else:
        logits = LogitsWanted.LAST if chunk.is_last else LogitsWanted.NONE
    return ChunkInput(
        token_ids=sequence.token_ids[start : start + chunk.num_tokens],
        start=start,
        block_ids=sequence.block_ids,
        logits=logits,
        is_inspected=chunk.is_observed,
        attention_layers=observer.attention_layers if observer is not None else (),
        is_explained=sequence.request.inspect is not None,
    )


def _choose(chunks: Sequence[Chunk], step: ComputedStep) -> list[ChunkResult]:
    last = [place for place, chunk in enumerate(chunks) if chunk.is_last]
    last_rows = [step.rows[place].stop - 1 for place in last]
    logits_RV = step.logits_RV
    if last_rows != list(range(logits_RV.shape[0])):
        logits_RV = logits_RV[last_rows]
    explanations = step.explanations and _renumbered(step.explanations, last_rows)
    sequences = [chunks[place].sequence for place in last]
    sampled = iter(sample(logits_RV, sequences, explanations) if last else ())
    results: list[ChunkResult] = []
    for place, chunk in enumerate(chunks):
        result = ChunkResult(chunk, True, next(sampled) if chunk.is_last else None)
        if chunk.is_observed or chunk.wants_all_logits:
            try:
                result = _with_prompt(result, step, place)
            except Exception as error:
                result = replace(result, choice=FailedChoice(error))
        results.append(result)
    return results


def _with_prompt(result: ChunkResult, step: ComputedStep, place: int) -> ChunkResult:
    """What is wanted of the chunk's own tokens besides the next one."""
    chunk, sequence = result.chunk, result.chunk.sequence
    if chunk.is_observed and (observer := sequence.observer) is not None:
        observer.note(chunk.start, step.inspected[place])
    if not chunk.wants_all_logits:
        return result
    rows = step.rows[place]
    logits_TV = step.logits_RV[rows]
    if sequence.next_traced is None:
        return replace(result, prompt_logprobs=_prompt_logprobs(chunk, logits_TV))
    explanations = _renumbered(step.explanations, range(rows.start, rows.stop))
    traces = trace_text(sequence.request, chunk.start, logits_TV, explanations)
    return replace(result, prompt_traces=traces)


def _prompt_logprobs(chunk: Chunk, logits_TV: Tensor) -> list[TokenLogprob]:
    """Of the prompt's tokens that come after each token of a chunk."""
    request = chunk.sequence.request
    next_ids = request.prompt_ids[chunk.start + 1 : chunk.start + chunk.num_tokens + 1]
    if request.following_id is not None and len(next_ids) < chunk.num_tokens:
        next_ids.append(request.following_id)
    return token_logprobs(logits_TV[: len(next_ids)], next_ids, num_top=request.logprobs or 0)


def _renumbered(explanations: Mapping[int, Explain], rows: Sequence[int]) -> dict[int, Explain]:
    """Those of some rows, numbered as these are."""
    return {place: explanations[row] for place, row in enumerate(rows) if row in explanations}
