"""Whole answers: put together beside the event loop when large, and bounded until they are read."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TypeVar

from service.bounded_threads import ANSWERS
from service.errors import ErrorKind, RequestError
from service.generation import TextPiece
from service.glass_box.glass_box_values import Resampled, TextInspection
from service.glass_box.inspection import TokenInspection

__all__ = [
    "ANSWER_MEMORY",
    "SMALL_ANSWER_BYTES",
    "AnswerMemory",
    "build_answer",
    "encode_answer",
]

# Tokens and reports that are written in a few milliseconds.
INLINE_ITEMS = 2048
# Below it an answer is no larger than the buffers that any connection may have.
SMALL_ANSWER_BYTES = 64 * 1024
# The tokens of three texts of a megabyte, read by clients that take their time.
MAX_ANSWER_BYTES = 128 * 1024 * 1024

# A candidate of an inspection as objects: its numbers, and its share of a list.
BYTES_PER_CANDIDATE = 600

AnswerT = TypeVar("AnswerT")


class AnswerMemory:
    """Bounds what finished answers take until their clients have read them.

    Args:
        max_bytes: Most in all; one answer alone may be larger.
    """

    def __init__(self, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0

    @contextmanager
    def held(self, num_bytes: int) -> Generator[None, None, None]:
        """Count an answer for as long as the block writes or sends it; small ones do not count.

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

    Raises:
        RequestError: Other answers leave no room for what this one is made of.
    """
    pieces = list(pieces)
    if sum(_num_items(piece) for piece in pieces) <= INLINE_ITEMS:
        return build()
    return await _run(
        build, _num_candidates(each for piece in pieces for each in piece.inspections)
    )


async def encode_answer(answer: object, encode: Callable[[], bytes]) -> bytes:
    """What ``encode`` makes of an answer of the glass box, beside the event loop.

    Args:
        answer: What it is made of; inspections count until they are encoded.
        encode: Must not hold the interpreter for long at a stretch.

    Raises:
        RequestError: Other answers leave no room for what this one is made of.
    """
    inspections = answer.inspections if isinstance(answer, TextInspection | Resampled) else ()
    return await _run(encode, _num_candidates(inspections))


async def _run(build: Callable[[], AnswerT], num_candidates: int) -> AnswerT:
    # They are many times as large as what they become, and may wait for a thread.
    with ANSWER_MEMORY.held(num_candidates * BYTES_PER_CANDIDATE):
        return await ANSWERS.run(build)


def _num_candidates(inspections: Iterable[TokenInspection]) -> int:
    return sum(len(each.candidates) for each in inspections)


def _num_items(piece: TextPiece) -> int:
    """Things to write for a piece; all its reports but a prompt's first have as many rivals."""
    num_rivals = len(piece.reports[-1].top) if piece.reports else 0
    # A candidate has a probability for each stage.
    num_reported = len(piece.reports) * (1 + num_rivals)
    return 1 + len(piece.token_ids) + num_reported + 8 * _num_candidates(piece.inspections)
