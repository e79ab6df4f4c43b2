"""All requests of an engine by their numbers: in, out, paused, too late. Torch-free.

The scheduler knows sequences; here is who belongs to which request.
"""

import heapq
import itertools
from collections.abc import Callable

from service.engine.block_allocator import ConservationError
from service.engine.block_tables import BlockTables
from service.engine.messages import Submit
from service.engine.request import Observer, Sequence
from service.engine.scheduler import Scheduler

__all__ = ["RequestTable", "UnsupportedRequestError"]


# Deadlines of requests that are over, at least, before they are forgotten.
_MOST_OVER = 64


class UnsupportedRequestError(ValueError):
    """A request asks for what this engine does not offer."""


class RequestTable:
    """Requests and their sequences.

    Args:
        scheduler: Gets the sequences.
        tables: Says what fits.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self, scheduler: Scheduler, *, tables: BlockTables, clock: Callable[[], float]
    ) -> None:
        self._scheduler = scheduler
        self._tables = tables
        self._clock = clock
        self._sequences: dict[int, list[Sequence]] = {}
        self._arrivals = itertools.count()
        # When and which request; some of those that are over stand here still.
        self._deadlines: list[tuple[float, int]] = []

    @property
    def is_empty(self) -> bool:
        """Whether no request is here."""
        return not self._sequences

    def submit(self, request: Submit, *, observer: Observer | None = None) -> None:
        """Queue a request. The front has validated it: ids, context and ranges fit.

        Args:
            request: Of one choice, where there is an observer.
            observer: Looks at the inside of the network for it.

        Raises:
            UnsupportedRequestError: It asks for what is not offered.
        """
        if request.request_id in self._sequences:
            raise UnsupportedRequestError(f"request_id {request.request_id} is in use")
        if request.inspect is not None and request.inspect.first_position is not None:
            _refuse_unless_it_only_reads(request, request.inspect.first_position)
        # The last token is delivered but never computed.
        num_tokens = len(request.prompt_ids) + max(0, request.max_tokens - 1)
        if num_tokens > self._tables.num_tokens:
            raise UnsupportedRequestError(
                f"prompt and max_tokens but the last must be at most {self._tables.num_tokens} "
                f"tokens, what the key-value cache holds; got {num_tokens}"
            )
        deadline = None
        if request.timeout_seconds is not None:
            deadline = self._clock() + request.timeout_seconds
        sequences = [
            Sequence(
                request,
                choice=choice,
                arrival=next(self._arrivals),
                deadline=deadline,
                observer=observer,
            )
            for choice in range(request.num_choices)
        ]
        self._sequences[request.request_id] = sequences
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, request.request_id))
        first, *others = sequences
        if self._tables.can_share(first):
            # They start when the first has filled the blocks that they all begin with.
            first.lead(others)
            others = []
        for sequence in (first, *others):
            self._scheduler.add(sequence)

    def cancel(self, request_id: int, *, choice: int | None = None) -> None:
        """Drop a request or one of its choices; an unknown or finished one is no error."""
        # The last first, so that no choice inherits a place in the queue that it loses next.
        for sequence in reversed(self._sequences.get(request_id, []).copy()):
            if choice is None or sequence.choice == choice:
                self.drop(sequence)

    def set_paused(self, request_id: int, *, is_paused: bool) -> None:
        """Stop or go on computing a request; an unknown or finished one is no error."""
        for sequence in self._sequences.get(request_id, []):
            sequence.is_paused = is_paused

    def drop(self, sequence: Sequence, *, is_poisoned: bool = False) -> None:
        """Forget a sequence; its blocks are free at once.

        Args:
            sequence: One that is here.
            is_poisoned: Whether its blocks may hold NaN.
        """
        self._scheduler.remove(sequence, is_poisoned=is_poisoned)
        siblings = self._sequences[sequence.request_id]
        siblings.remove(sequence)
        if not siblings:
            del self._sequences[sequence.request_id]
            if len(self._deadlines) > 2 * len(self._sequences) + _MOST_OVER:
                current = [each for each in self._deadlines if self._is_due_at(*each)]
                heapq.heapify(current)
                self._deadlines = current

    def expired(self) -> list[Sequence]:
        """Sequences whose deadline has passed, the last of a request first; each is told once."""
        expired: list[Sequence] = []
        if self._deadlines:
            now = self._clock()
            while self._deadlines and self._deadlines[0][0] <= now:
                deadline, request_id = heapq.heappop(self._deadlines)
                if self._is_due_at(deadline, request_id):
                    expired += reversed(self._sequences[request_id])
        return expired

    def seconds_to_deadline(self) -> float | None:
        """Until the next deadline, 0 when it has passed; None when no request has one."""
        while self._deadlines and not self._is_due_at(*self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return max(0.0, self._deadlines[0][0] - self._clock()) if self._deadlines else None

    def _is_due_at(self, deadline: float, request_id: int) -> bool:
        """Whether such a request is here and ends then."""
        sequences = self._sequences.get(request_id)
        return sequences is not None and sequences[0].deadline == deadline

    def check_conservation(self) -> None:
        """Raise ConservationError unless blocks, queues and requests add up."""
        self._scheduler.check_conservation()
        ours = sorted(sequence.key for group in self._sequences.values() for sequence in group)
        theirs = sorted(sequence.key for sequence in self._scheduler.sequences())
        if ours != theirs:
            raise ConservationError(f"requests {ours} are scheduled as {theirs}")
        if self.is_empty and self._tables.num_free != self._tables.num_blocks:
            raise ConservationError("blocks are held though no request is here")

    def describe(self) -> str:
        """Every sequence in one line for the log; counts only."""
        return ", ".join(
            f"{sequence.key}: {sequence.num_computed_tokens} of {len(sequence.token_ids)} tokens"
            f" in {len(sequence.block_ids)} blocks{', paused' if sequence.is_paused else ''}"
            for sequence in self._scheduler.sequences()
        )


def _refuse_unless_it_only_reads(request: Submit, first_position: int) -> None:
    if request.max_tokens or request.num_choices != 1 or request.prompt_logprobs:
        raise UnsupportedRequestError(
            "a request that inspects its prompt has one choice, max_tokens 0 and no prompt_logprobs"
        )
    if not 1 <= first_position < len(request.prompt_ids):
        raise UnsupportedRequestError(
            f"first_position must be from 1 to {len(request.prompt_ids) - 1}, got {first_position}"
        )
