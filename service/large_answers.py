"""Whole answers: put together beside the event loop when large, and bounded until they are read."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar

from service.bounded_threads import ANSWERS
from service.errors import ErrorKind, RequestError
from service.generation import TextPiece

__all__ = ["ANSWER_MEMORY", "SMALL_ANSWER_BYTES", "AnswerMemory", "build_answer"]

# Tokens and reports that are written in a few milliseconds.
INLINE_ITEMS = 2048
# Below it an answer is no larger than the buffers that any connection may have.
SMALL_ANSWER_BYTES = 64 * 1024
# The tokens of three texts of a megabyte, read by clients that take their time.
MAX_ANSWER_BYTES = 128 * 1024 * 1024

AnswerT = TypeVar("AnswerT")


class AnswerMemory:
    """Bounds what finished answers take while their clients read them.

    Args:
        max_bytes: Most in all; one answer alone may be larger.
    """

    def __init__(self, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0

    @contextmanager
    def held(self, num_bytes: int) -> Generator[None, None, None]:
        """Count an answer for as long as the block sends it; small ones do not count.

        Raises:
            RequestError: The others leave no room for it.
        """
        counted = num_bytes if num_bytes > SMALL_ANSWER_BYTES else 0
        if counted and self._num_bytes and self._num_bytes + counted > self._max_bytes:
            raise RequestError(
                ErrorKind.SERVER_OVERLOADED,
                f"answers of {self._num_bytes} bytes wait for their readers; with this one of "
                f"{num_bytes} they would be above {self._max_bytes}",
                retry_after_seconds=1,
            )
        self._num_bytes += counted
        try:
            yield
        finally:
            self._num_bytes -= counted


ANSWER_MEMORY = AnswerMemory()


async def build_answer(pieces: Iterable[TextPiece], build: Callable[[], AnswerT]) -> AnswerT:
    """What ``build`` makes of the pieces of an answer.

    Args:
        pieces: What the answer consists of.
        build: Runs in another thread when they are many. It must not hold the interpreter for long
            at a stretch.
    """
    if sum(_num_items(piece) for piece in pieces) <= INLINE_ITEMS:
        return build()
    return await ANSWERS.run(build)


def _num_items(piece: TextPiece) -> int:
    """Things to write for a piece; all its reports but a prompt's first have as many rivals."""
    num_rivals = len(piece.reports[-1].top) if piece.reports else 0
    # A candidate has a probability for each stage.
    num_candidates = sum(len(each.candidates) for each in piece.inspections)
    num_reported = len(piece.reports) * (1 + num_rivals)
    return 1 + len(piece.token_ids) + num_reported + 8 * num_candidates
