"""Admission: by requests and by tokens, refused at once with a time to come back."""

import random
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import MAX_RETRY_SECONDS, Admission
from service.errors import ErrorKind, RequestError


class Refusals(list[str]):
    """Which limits refused."""


def admission(
    *, max_requests: int = 3, max_tokens: int = 100, seed: int = 1
) -> tuple[Admission, Refusals]:
    refusals = Refusals()
    made = Admission(
        max_requests=max_requests,
        max_tokens=max_tokens,
        on_refusal=refusals.append,
        rng=random.Random(seed),
    )
    return made, refusals


def retry_seconds(made: Admission, num_tokens: int) -> int:
    """What a refused request is told."""
    with pytest.raises(RequestError) as error, made.enter(num_tokens):
        pass
    assert error.value.kind is ErrorKind.SERVER_OVERLOADED
    assert error.value.retry_after_seconds is not None
    return error.value.retry_after_seconds


def test_as_many_requests_as_the_limit_says() -> None:
    made, refusals = admission(max_requests=2)
    with made.enter(1), made.enter(1):
        retry_seconds(made, 1)
    assert refusals == ["requests"]
    with made.enter(1):
        assert (made.num_requests, made.num_tokens) == (1, 1)
    assert (made.num_requests, made.num_tokens) == (0, 0)


def test_few_long_requests_are_refused_by_their_cost() -> None:
    """H94."""
    made, refusals = admission()
    with made.enter(60), made.enter(40):
        retry_seconds(made, 1)
    assert refusals == ["tokens"]


def test_prompts_that_never_fit_together_are_told_so_whoever_else_is_here() -> None:
    """H21: by their number at the first of them, by their cost at the one that passes the limit."""
    made, refusals = admission()
    with made.enter(60):
        for options in ({"num_prompts": 4}, {"num_prompts": 2, "held_tokens": 71}):
            with pytest.raises(RequestError) as error, made.enter(30, **options):
                pass
            assert (error.value.kind, error.value.field) == (ErrorKind.INVALID_VALUE, "prompt")
            given, limit = ("4", "3") if options["num_prompts"] == 4 else ("101", "100")
            assert given in error.value.message
            assert limit in error.value.message
        with made.enter(30, num_prompts=3, held_tokens=70):
            assert made.num_requests == 2
    assert refusals == []


def test_what_never_fits_is_told_so_and_not_to_come_back() -> None:
    """H21: the product of prompts, choices and tokens ends at the queue's budget."""
    made, refusals = admission()
    with pytest.raises(RequestError) as error, made.enter(101):
        pass
    assert (error.value.kind, error.value.field) == (ErrorKind.INVALID_VALUE, "max_tokens")
    assert "101" in error.value.message
    assert "100" in error.value.message
    assert refusals == []


def test_the_time_to_come_back_follows_from_the_measured_rate() -> None:
    """H94: 10 tokens a second, so 40 tokens too many take 4 seconds."""
    made, _ = admission()
    for _ in range(100):
        made.note_step(num_tokens=5, seconds=0.5)
    assert made.tokens_per_second == pytest.approx(10.0)
    with made.enter(100):
        assert {retry_seconds(made, 40) for _ in range(100)} == {4, 5, 6}


def test_the_rate_follows_what_was_last_measured() -> None:
    made, _ = admission()
    for _ in range(100):
        made.note_step(num_tokens=5, seconds=0.5)
    for _ in range(100):
        made.note_step(num_tokens=50, seconds=0.5)
    assert made.tokens_per_second == pytest.approx(100.0, rel=0.02)


@pytest.mark.parametrize("rate", [None, 0.001, 1.0, 1e9])
def test_nobody_is_told_to_wait_for_more_than_two_minutes(rate: float | None) -> None:
    """H98, interfaces 10: openai-python gives up above 120; and not all come back at once."""
    made, _ = admission(max_tokens=10_000)
    if rate is not None:
        made.note_step(num_tokens=1, seconds=1 / rate)
    with made.enter(10_000):
        told = {retry_seconds(made, 5_000) for _ in range(300)}
    assert all(1 <= seconds <= MAX_RETRY_SECONDS for seconds in told)
    assert len(told) > 1


@given(costs=st.lists(st.integers(1, 60), max_size=12), ends=st.lists(st.booleans(), max_size=12))
def test_the_books_add_up_whatever_comes(costs: list[int], ends: list[bool]) -> None:
    made, refusals = admission(max_requests=4, max_tokens=120)
    open_stacks: list[tuple[int, ExitStack]] = []
    for cost, is_end in zip(costs, ends, strict=False):
        stack = ExitStack()
        fits = len(open_stacks) < 4 and sum(x for x, _ in open_stacks) + cost <= 120
        try:
            stack.enter_context(made.enter(cost))
            assert fits
            open_stacks.append((cost, stack))
        except RequestError:
            assert not fits
        if is_end and open_stacks:
            open_stacks.pop(0)[1].close()
        assert made.num_requests == len(open_stacks)
        assert made.num_tokens == sum(cost for cost, _ in open_stacks)
    assert set(refusals) <= {"requests", "tokens"}
