"""What waits of one choice for a reader, as one output: a message then tells of all of it."""

from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import TypeVar

from service.engine.messages import TokenOutput

__all__ = ["merge_next"]

ItemT = TypeVar("ItemT")


def merge_next(
    first: TokenOutput, others: deque[TokenOutput], *, max_tokens: int, is_plain: bool
) -> TokenOutput:
    """An output with those of its choice that follow it; they are taken from the others.

    One that has so many tokens takes in no more.

    Args:
        first: The output.
        others: What follows, the next one first; at least one.
        max_tokens: How many.
        is_plain: Whether none of them holds anything but tokens and an end.
    """
    if is_plain:
        return _merge_plain(first, others, max_tokens)
    num_tokens = _num_tokens(first)
    outputs = [first]
    while others and num_tokens < max_tokens:
        outputs.append(others.popleft())
        num_tokens += _num_tokens(outputs[-1])
    if len(outputs) == 1:
        return first
    last = outputs[-1]
    prompt_logprobs = [each.prompt_logprobs for each in outputs if each.prompt_logprobs]
    return TokenOutput(
        first.request_id,
        first.choice,
        _joined(each.token_ids for each in outputs) or [],
        last.finish,
        _joined(each.logprobs for each in outputs),
        prompt_logprobs[-1] if prompt_logprobs else None,
        _joined(each.traces for each in outputs),
        _joined(each.prompt_traces for each in outputs),
    )


def _merge_plain(first: TokenOutput, others: deque[TokenOutput], max_tokens: int) -> TokenOutput:
    # Of a fast engine there are hundreds for one message.
    token_ids, last = [*first.token_ids], first
    while others and len(token_ids) < max_tokens:
        last = others.popleft()
        token_ids += last.token_ids
    if last is first:
        return first
    return TokenOutput(first.request_id, first.choice, token_ids, last.finish)


def _num_tokens(output: TokenOutput) -> int:
    return len(output.token_ids) + len(output.prompt_traces or ())


def _joined(lists: Iterable[list[ItemT] | None]) -> list[ItemT] | None:
    return list(chain.from_iterable(each for each in lists if each)) or None
