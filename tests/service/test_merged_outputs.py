"""Outputs that wait for one reader: merged, they tell the same."""

from collections import deque

import pytest

from service.engine.messages import EngineFinish, TokenLogprob, TokenOutput
from service.merged_outputs import merge_next

FIRST, SECOND, THIRD = (TokenLogprob(-float(rank), rank, []) for rank in (1, 2, 3))


def test_one_output_tells_what_several_did() -> None:
    others = deque(
        [
            TokenOutput(7, 1, [2], None, [SECOND]),
            TokenOutput(7, 1, [3], EngineFinish.LENGTH, [THIRD]),
        ]
    )
    first = TokenOutput(7, 1, [1], None, [FIRST], [None, SECOND])
    merged = merge_next(first, others, max_tokens=10, is_plain=False)
    ids, logprobs = [1, 2, 3], [FIRST, SECOND, THIRD]
    assert merged == TokenOutput(7, 1, ids, EngineFinish.LENGTH, logprobs, [None, SECOND])
    assert not others
    assert first.token_ids == [1]


def test_tokens_alone_are_joined_up_to_the_end() -> None:
    others = deque([TokenOutput(7, 1, [2, 3]), TokenOutput(7, 1, [], EngineFinish.STOP)])
    first = TokenOutput(7, 1, [1])
    merged = merge_next(first, others, max_tokens=10, is_plain=True)
    assert merged == TokenOutput(7, 1, [1, 2, 3], EngineFinish.STOP)
    assert not others
    assert first.token_ids == [1]


@pytest.mark.parametrize("is_plain", [False, True])
def test_one_that_has_enough_takes_in_no_more(is_plain: bool) -> None:
    outputs = [TokenOutput(7, 0, [place] * 2) for place in range(4)]
    others = deque(outputs[1:])
    merged = merge_next(outputs[0], others, max_tokens=3, is_plain=is_plain)
    assert merged.token_ids == [0, 0, 1, 1]
    assert list(others) == outputs[2:]
    assert merge_next(outputs[2], others, max_tokens=2, is_plain=is_plain) is outputs[2]
    assert list(others) == outputs[2:]
