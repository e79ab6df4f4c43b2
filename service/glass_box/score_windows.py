"""How a text is cut into windows in which every token is scored once, as training cuts it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Window", "score_windows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Consecutive tokens of a text that are scored by one request.

    Attributes:
        prompt_ids: What the model computes: tokens before those that are scored, then these but the
            last.
        num_before: How many of the former there are, at least one.
        last_id: The last token that is scored.
    """

    prompt_ids: list[int]
    num_before: int
    last_id: int


def score_windows(
    token_ids: Sequence[int], *, start_id: int, context_tokens: int, num_before: int
) -> Iterator[Window]:
    """Cut a text into windows in which every token is scored exactly once.

    With one token before them they stand side by side, so that a token sees those before it in its
    window only; with as many as a model looks back, none sees less than all it could.

    Args:
        token_ids: The text.
        start_id: What it follows.
        context_tokens: Most tokens that a window computes.
        num_before: Tokens before those that are scored, as far as there are any; at least one, and
            fewer than a context holds unless that is one.
    """
    num_scored = context_tokens - num_before + 1
    for first in range(0, len(token_ids), num_scored):
        begin = first - num_before
        last = min(len(token_ids), first + num_scored) - 1
        before = [start_id] if begin < 0 else []
        prompt_ids = [*before, *token_ids[max(0, begin) : last]]
        yield Window(
            prompt_ids=prompt_ids,
            num_before=len(prompt_ids) - (last - first),
            last_id=token_ids[last],
        )
