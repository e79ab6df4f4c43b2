"""Whole answers, put together on the event loop when they are small and beside it when not."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from service.bounded_threads import ANSWERS
from service.generation import TextPiece

__all__ = ["build_answer"]

# Tokens and reports that are written in a few milliseconds.
INLINE_ITEMS = 2048

AnswerT = TypeVar("AnswerT")


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
    return 1 + len(piece.token_ids) + len(piece.reports) * (1 + num_rivals)
