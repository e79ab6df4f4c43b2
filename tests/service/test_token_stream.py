"""Tokens between an engine and a reader: bounded, complete, and ended exactly once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import token_stream
from service.engine.messages import Cancel, EngineFinish, Pause, Resume
from service.errors import ErrorKind, RequestError
from service.token_stream import MAX_WAITING_TOKENS
from tests.service.driven_stream import Engine, run


def test_what_waits_is_merged_by_choice_and_each_choice_ends_once() -> None:
    async def body() -> None:
        engine = Engine(2)
        with engine.stream as stream:
            engine.give(1, choice=1)
            engine.give(2, choice=0)
            engine.give(3, choice=1, finish=EngineFinish.LENGTH)
            first = await anext(stream)
            assert (first.choice, first.token_ids, first.finish) == (1, [1, 3], "length")
            engine.give(4, choice=0, finish=EngineFinish.END_OF_TEXT)
            second = await anext(stream)
            assert (second.choice, second.token_ids, second.finish) == (0, [2, 4], "end_of_text")
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        assert (engine.heard, engine.num_over) == ([], 1)

    run(body)


def test_a_batch_is_bounded_and_the_rest_waits_behind_the_other_choices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message to the client is no larger because much has waited."""
    monkeypatch.setattr(token_stream, "MAX_BATCH_TOKENS", 3)

    async def body() -> None:
        engine = Engine(2)
        with engine.stream as stream:
            for number in range(5):
                engine.give(number)
            engine.give(9, choice=1)
            batches = [await anext(stream) for _ in range(3)]
            taken = [(batch.choice, batch.token_ids) for batch in batches]
            assert taken == [(0, [0, 1, 2]), (1, [9]), (0, [3, 4])]
        assert engine.heard == [Cancel(7)]

    run(body)


def test_cancelling_one_choice_leaves_the_others() -> None:
    async def body() -> None:
        engine = Engine(3)
        with engine.stream as stream:
            engine.give(1, choice=1)
            stream.cancel_choice(1)
            # What was under way when the engine heard of it.
            engine.give(2, choice=1, finish=EngineFinish.LENGTH)
            engine.give(3, choice=2)
            assert (await anext(stream)).choice == 2
            assert engine.heard == [Cancel(7, 1)]
            stream.cancel_choice(0)
            stream.cancel_choice(2)
            assert engine.heard == [Cancel(7, 1), Cancel(7, 0), Cancel(7)]
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        assert (len(engine.heard), engine.num_over) == (3, 1)

    run(body)


def test_leaving_the_block_cancels_what_is_still_computed() -> None:
    async def body() -> None:
        engine = Engine(2)
        with engine.stream:
            engine.give(1, choice=0, finish=EngineFinish.LENGTH)
        assert (engine.heard, engine.num_over) == ([Cancel(7)], 1)

    run(body)


@pytest.mark.parametrize(
    ("finish", "kind"),
    [
        (EngineFinish.NUMERICAL_ERROR, ErrorKind.NUMERICAL_ERROR),
        (EngineFinish.INTERNAL_ERROR, ErrorKind.INTERNAL_ERROR),
        (EngineFinish.DEADLINE, ErrorKind.DEADLINE_EXCEEDED),
    ],
)
def test_a_failure_of_one_choice_is_the_one_outcome_of_the_request(
    finish: EngineFinish, kind: ErrorKind
) -> None:
    async def body() -> None:
        engine = Engine(2)
        with engine.stream as stream:
            engine.give(1, choice=1, finish=finish)
            stream.fail(RequestError(ErrorKind.DRAINING, "too late"))
            for _ in range(2):
                with pytest.raises(RequestError) as error:
                    await anext(stream)
                assert error.value.kind is kind
        assert (engine.heard, engine.num_over) == ([Cancel(7)], 1)

    run(body)


def test_the_deadline_holds_although_the_engine_is_silent() -> None:
    """H95."""

    async def body() -> None:
        engine = Engine(timeout=0.01)
        with engine.stream as stream, pytest.raises(RequestError) as error:
            await anext(stream)
        assert error.value.kind is ErrorKind.DEADLINE_EXCEEDED
        assert (engine.heard, engine.num_over) == ([Cancel(7)], 1)

    run(body)


def test_a_reader_who_falls_behind_pauses_the_request_until_it_has_caught_up() -> None:
    """H69."""

    async def body() -> None:
        engine = Engine()
        with engine.stream as stream:
            engine.give(*range(MAX_WAITING_TOKENS))
            assert engine.heard == []
            engine.give(1)
            engine.give(2)
            assert engine.heard == [Pause(7)]
            assert len((await anext(stream)).token_ids) == MAX_WAITING_TOKENS + 2
            assert engine.heard == [Pause(7), Resume(7)]
            engine.give(3, finish=EngineFinish.LENGTH)
            assert (await anext(stream)).token_ids == [3]
        assert engine.num_over == 1

    run(body)


def test_a_reader_who_takes_nothing_for_long_is_given_up() -> None:
    """H69: the engine is told at once, the reader when it comes back."""

    async def body() -> None:
        engine = Engine(reader_seconds=0.01)
        with engine.stream as stream:
            engine.give(*range(MAX_WAITING_TOKENS + 1))
            await engine.over.wait()
            assert engine.heard == [Pause(7), Cancel(7)]
            with pytest.raises(RequestError) as error:
                await anext(stream)
            assert error.value.kind is ErrorKind.READER_TOO_SLOW
        assert engine.num_over == 1

    run(body)


def test_a_slow_reader_of_many_choices_has_its_time_from_batch_to_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H69: reading all that waits may take several times as long as reading nothing may."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now)
        engine = Engine(8, reader_seconds=1.0)
        with engine.stream as stream:
            for choice in range(8):
                engine.give(*range(MAX_WAITING_TOKENS // 8 + 1), choice=choice)
            for num_taken in range(6):
                now += 0.9
                # Timers that are due run meanwhile.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert (await anext(stream)).choice == num_taken
            assert engine.heard == [Pause(7)]
            await anext(stream)
            assert engine.heard == [Pause(7), Resume(7)]
            for choice in range(8):
                engine.give(*range(MAX_WAITING_TOKENS // 8 + 1), choice=choice)
            now += 1.1
            await engine.over.wait()
            assert engine.heard[2:] == [Pause(7), Cancel(7)]

    run(body)


def test_what_is_complete_waits_for_its_reader() -> None:
    """It holds nothing in the engine any more."""

    async def body() -> None:
        engine = Engine(reader_seconds=0.001)
        with engine.stream as stream:
            engine.give(*range(MAX_WAITING_TOKENS + 1))
            engine.give(1, finish=EngineFinish.LENGTH)
            # One that is not complete, and has longer, is given up meanwhile.
            other = Engine(reader_seconds=0.01)
            with other.stream:
                other.give(*range(MAX_WAITING_TOKENS + 1))
                await other.over.wait()
            assert (await anext(stream)).finish == "length"
        assert engine.heard == [Pause(7)]

    run(body)


EVENTS = st.lists(
    st.one_of(st.tuples(st.integers(0, 2), st.integers(1, 90)), st.just(None)), max_size=60
)


@given(EVENTS)
def test_every_token_arrives_once_and_few_wait(events: list[tuple[int, int] | None]) -> None:
    """Any mix of deliveries and readings; the engine pauses when it is told to."""

    async def body() -> None:
        engine = Engine(3)
        given_ids: dict[int, list[int]] = {0: [], 1: [], 2: []}
        taken: dict[int, list[int]] = {0: [], 1: [], 2: []}
        with engine.stream as stream:
            for event in events:
                num_waiting = sum(map(len, given_ids.values())) - sum(map(len, taken.values()))
                assert num_waiting <= MAX_WAITING_TOKENS + 90
                is_paused = bool(engine.heard) and isinstance(engine.heard[-1], Pause)
                if event is None and num_waiting:
                    batch = await anext(stream)
                    taken[batch.choice] += batch.token_ids
                elif event is not None and not is_paused:
                    choice, num_tokens = event
                    ids = list(range(len(given_ids[choice]), len(given_ids[choice]) + num_tokens))
                    given_ids[choice] += ids
                    engine.give(*ids, choice=choice)
            for choice in given_ids:
                engine.give(choice=choice, finish=EngineFinish.LENGTH)
            async for batch in stream:
                taken[batch.choice] += batch.token_ids
        assert taken == given_ids
        # Each pause is taken back before the next one.
        kinds = [type(told) for told in engine.heard]
        assert kinds == [Pause, Resume] * (len(kinds) // 2) + [Pause] * (len(kinds) % 2)

    run(body)
