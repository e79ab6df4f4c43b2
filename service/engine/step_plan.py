"""The work of one step: which tokens of which sequences. Torch-free: it deals in counts."""

import msgspec

from service.engine.request import Sequence

__all__ = ["MAX_TRACED_TOKENS", "Chunk", "StepPlan", "prompt_chunk"]

# Logits of every position are wanted of such a prompt: a piece of it bounds their memory.
MAX_PROMPT_LOGPROB_TOKENS = 64
# Tracing takes longer than logprobs do.
MAX_TRACED_TOKENS = 16


class Chunk(msgspec.Struct, frozen=True):
    """Tokens of one sequence to compute in this step.

    Made for every row of every step, which is why it is no dataclass.

    Attributes:
        sequence: Whose; its blocks cover the tokens.
        start: Position of the first.
        num_tokens: How many.
        is_last: Whether the next token can be chosen afterwards.
        wants_all_logits: Whether logits after each of the tokens are wanted, not after the last.
        is_observed: Whether the sequence's observer looks at these tokens.
    """

    sequence: Sequence
    start: int
    num_tokens: int
    is_last: bool
    wants_all_logits: bool = False
    is_observed: bool = False


class StepPlan(msgspec.Struct, frozen=True):
    """The work of one step.

    Attributes:
        chunks: At most one of each sequence; none when there is no work.
        started: Sequences that were never in the batch before.
        num_streams: Chunks that continue a sequence by one token; they come first.
        num_prompt_tokens: Tokens of the others.
        num_inspected: Chunks of sequences that want more than tokens.
    """

    chunks: tuple[Chunk, ...]
    started: tuple[Sequence, ...]
    num_streams: int
    num_prompt_tokens: int
    num_inspected: int


def prompt_chunk(sequence: Sequence, budget: int, *, max_traced: int) -> Chunk:
    """The next piece of a sequence; smaller where it is looked at.

    Args:
        sequence: Whose.
        budget: Tokens of the piece at most.
        max_traced: The same for a piece whose tokens are traced.
    """
    start, pending = sequence.num_computed_tokens, sequence.num_pending_tokens
    num_tokens = min(pending, budget)
    wants_all = is_observed = False
    # What comes before the first token to be looked at is a piece like any other.
    if sequence.wants_prompt_logprobs and start < sequence.num_prompt_tokens:
        wants_all = True
        num_tokens = min(num_tokens, MAX_PROMPT_LOGPROB_TOKENS)
    elif sequence.next_traced is not None:
        # The logits that matter follow the token before it.
        unseen = sequence.next_traced - 1 - start
        wants_all = unseen <= 0
        num_tokens = min(num_tokens, max_traced if wants_all else unseen)
    if (observer := sequence.observer) is not None:
        unseen = observer.next_position - start
        is_observed = unseen <= 0
        num_tokens = min(num_tokens, observer.max_tokens if is_observed else unseen)
    return Chunk(
        sequence,
        start,
        num_tokens,
        is_last=num_tokens == pending,
        wants_all_logits=wants_all,
        is_observed=is_observed,
    )
