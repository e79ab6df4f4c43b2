"""The parts of `nextword bench` that need no server: records, prompts, arrivals, objectives."""

import json
import math
import random
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nextword.address import parse_address
from nextword.bench.arrivals import arrival_times
from nextword.bench.distribution import distribution
from nextword.bench.misses import Misses
from nextword.bench.objective import Objective, parse_objective
from nextword.bench.plan import Plan, asks
from nextword.bench.plan_error import PlanError
from nextword.bench.prompts import Ask, Lengths, PromptSource, parse_lengths, read_prompts
from nextword.bench.records import RequestRecord, verify
from nextword.bench.stream_reading import digest, read_openai_events
from nextword.bench.svg_charts import Chart, Series, draw

ADDRESS = parse_address("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("num_tokens", "num_used", "num_prompt", "is_ok"),
    [(4, 4, 3, True), (5, 4, 3, False), (4, 5, 3, False), (4, 4, 2, False)],
)
def test_ids_and_usage_must_both_be_what_was_asked(
    num_tokens: int, num_used: int, num_prompt: int, is_ok: bool
) -> None:
    record = RequestRecord(
        num_tokens=num_tokens,
        num_used_tokens=num_used,
        num_prompt_tokens=num_prompt,
        num_sent_ids=3,
        max_tokens=4,
        finish_reason="length",
    )
    record.note_tokens(1.0, num_tokens)
    verify(record)
    assert (record.error_code is None) == is_ok


def test_tokens_that_came_together_share_their_wait() -> None:
    record = RequestRecord(started_at=10.0, num_tokens=6)
    for at, count in ((11.0, 2), (14.0, 1), (14.0, 2), (15.0, 1), (16.0, 0)):
        record.note_tokens(at, count)
    assert record.first_token_seconds == 1.0
    assert record.gaps_seconds == [1.0, 1.0, 1.0, 1.0]


def test_events_that_tell_no_ids_have_the_same_share_of_the_tokens_counted() -> None:
    record = RequestRecord(num_used_tokens=6, arrivals=[(1.0, 1), (2.0, 1), (4.0, 1)])
    assert record.gaps_seconds == [0.5, 1.0]


def test_a_usage_in_each_event_tells_how_many_tokens_it_has() -> None:
    events = [
        {"choices": [{"text": "ab", "finish_reason": None}], "usage": used(2)},
        {"choices": [{"text": "cde", "finish_reason": None}], "usage": used(5)},
        {"choices": [{"text": "", "finish_reason": "length"}], "usage": used(5)},
    ]
    record = RequestRecord(started_at=0.0, ended_at=9.0, max_tokens=5, num_sent_ids=2)
    record.pieces += [
        (float(at), b"data: %b\n\n" % json.dumps(event).encode()) for at, event in enumerate(events)
    ]
    digest(record, read_openai_events)
    assert (record.error_code, record.arrivals) == (None, [(0.0, 2), (1.0, 3)])


def used(num_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 2, "completion_tokens": num_tokens}


def test_the_same_seed_sends_the_same_prompts_and_none_of_them_twice() -> None:
    def first_asks(seed: int, phase: str) -> list[Ask]:
        plan = Plan(
            addresses=(ADDRESS,),
            concurrencies=(2,),
            prompts=PromptSource(prompt_tokens=Lengths(8, 8)),
            seed=seed,
        )
        level = next(plan.levels())
        return list(islice(asks(plan, level, phase=phase, vocabulary_size=257), 50))

    sent = first_asks(0, "measure")
    assert sent == first_asks(0, "measure")
    assert all(len(ask.prompt) == 8 for ask in sent)
    others = first_asks(0, "warmup") + first_asks(1, "measure")
    assert len({ask.prompt for ask in sent + others}) == 150


@pytest.mark.parametrize("vocabulary_size", [None, 300])
def test_prompts_have_the_lengths_and_the_beginning_that_were_asked_for(
    vocabulary_size: int | None,
) -> None:
    source = PromptSource(
        prompt_tokens=Lengths(5, 9), shared_prefix_tokens=4, max_tokens=Lengths(2, 3)
    )
    found = list(islice(source.asks("a", prefix_key="b", vocabulary_size=vocabulary_size), 100))
    prompts = [
        tuple(ask.prompt.split()) if isinstance(ask.prompt, str) else ask.prompt for ask in found
    ]
    assert {len(prompt) for prompt in prompts} == {5, 6, 7, 8, 9}
    assert len({prompt[:4] for prompt in prompts}) == 1
    assert len({prompt[4:] for prompt in prompts}) > 50
    assert {ask.max_tokens for ask in found} == {2, 3}


def test_a_file_gives_each_prompt_once_before_any_comes_again(tmp_path: Path) -> None:
    place = tmp_path / "prompts.jsonl"
    place.write_text('{"prompt": "one", "max_tokens": 7}\n\n{"prompt": [1, 2]}\n{"prompt": "3"}\n')
    source = PromptSource(given=read_prompts(place), max_tokens=Lengths(5, 5))
    found = list(islice(source.asks("a", prefix_key="b", vocabulary_size=9), 6))
    turns = [{(ask.prompt, ask.max_tokens) for ask in turn} for turn in (found[:3], found[3:])]
    assert turns == [{("one", 7), ((1, 2), 5), ("3", 5)}] * 2
    lines = tmp_path / "prompts.txt"
    lines.write_text("first line \r\n\nsecond")
    assert read_prompts(lines) == (("first line ", None), ("second", None))


@pytest.mark.parametrize(
    "line",
    [
        *("no json", "[]", "{}", '{"prompt": ""}', '{"prompt": []}', '{"prompt": [1, -2]}'),
        *('{"prompt": [true]}', '{"prompt": "a", "max_tokens": 0}', '{"prompt": "a", "size": 3}'),
    ],
)
def test_a_wrong_prompt_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    place = tmp_path / "prompts.jsonl"
    place.write_text(f'{{"prompt": "a"}}\n{line}\n')
    with pytest.raises(PlanError, match="line 2"):
        read_prompts(place)


def test_constant_arrivals_are_equally_far_apart_and_poisson_ones_are_not() -> None:
    def times(arrivals: str, seed: int) -> list[float]:
        assert arrivals in ("constant", "poisson")
        rng = random.Random(seed)
        return arrival_times(arrivals, rate=50.0, seconds=100.0, num_requests=None, rng=rng)

    constant = times("constant", 0)
    assert len(constant) == 5000
    assert [b - a for a, b in pairwise(constant)] == pytest.approx([0.02] * 4999)
    drawn = times("poisson", 0)
    gaps = [b - a for a, b in pairwise(drawn)]
    # Of exponential pauses the spread is the mean; of 5,000 both are known to 2 %.
    assert np.mean(gaps) == pytest.approx(0.02, rel=0.1)
    assert np.std(gaps) == pytest.approx(0.02, rel=0.1)
    assert drawn == times("poisson", 0) != times("poisson", 1)
    counted = arrival_times("poisson", rate=3.0, seconds=None, num_requests=7, rng=random.Random(0))
    assert len(counted) == 7


def test_an_objective_is_kept_by_requests_within_each_of_its_bounds() -> None:
    objective = parse_objective("ttft=300ms, itl=50ms, tpot=0.03s, e2e=2s, share=95%")
    assert objective == Objective(
        first_token_seconds=0.3,
        between_tokens_seconds=0.05,
        mean_between_tokens_seconds=0.03,
        request_seconds=2.0,
        share=0.95,
    )

    def is_met(first: float, gaps: list[float], end: float) -> bool:
        record = RequestRecord(started_at=5.0, num_tokens=1 + len(gaps))
        at = 5.0 + first
        record.note_tokens(at, 1)
        for gap in gaps:
            at += gap
            record.note_tokens(at, 1)
        record.ended_at = 5.0 + end
        return objective.is_met(record)

    assert is_met(0.29, [0.02] * 10, 1.0)
    assert not is_met(0.31, [0.02] * 10, 1.0)
    assert not is_met(0.29, [0.02] * 9 + [0.07], 1.0)
    # One of two hundred is within what the bound leaves out.
    assert is_met(0.29, [0.005] * 199 + [0.07], 1.9)
    assert not is_met(0.29, [0.031] * 10, 1.0)
    assert not is_met(0.29, [0.02] * 10, 2.1)
    failed = RequestRecord(ended_at=1.0)
    failed.fail("connection_failed", "no")
    assert not objective.is_met(failed)


def test_tokens_that_come_together_hide_no_pause_from_the_objective() -> None:
    record = RequestRecord(started_at=0.0, num_tokens=49, ended_at=2.0)
    for at, count in ((0.1, 1), (0.5, 16), (0.9, 16), (1.3, 16)):
        record.note_tokens(at, count)
    assert max(record.gaps_seconds) < 0.03
    assert parse_objective("tpot=50ms").is_met(record)
    assert not parse_objective("itl=50ms").is_met(record)
    assert parse_objective("itl=410ms").is_met(record)


def test_each_look_for_misses_is_at_what_is_undecided_only() -> None:
    looked_at: list[RequestRecord] = []

    class Counting(Objective):
        def is_surely_missed(self, record: RequestRecord, now: float) -> bool:
            looked_at.append(record)
            return super().is_surely_missed(record, now)

    records = [RequestRecord(started_at=0.0, ended_at=0.5) for _ in range(100)]
    records += [RequestRecord(started_at=0.0) for _ in range(3)]
    misses = Misses(Counting(request_seconds=1.0), records)
    assert misses.count(0.9) == 0
    records.append(RequestRecord(started_at=0.9))
    looked_at.clear()
    assert misses.count(1.1) == 3
    assert len(looked_at) == 4
    assert misses.count(2.0) == 4


def test_a_request_without_a_token_in_time_has_surely_missed_its_objective() -> None:
    objective = parse_objective("ttft=1s")
    waiting = RequestRecord(started_at=10.0)
    assert not objective.is_surely_missed(waiting, 10.9)
    assert objective.is_surely_missed(waiting, 11.1)
    waiting.pieces.append((10.5, b"x"))
    assert not objective.is_surely_missed(waiting, 99.0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "ttft", "ttft=300", "ttft=5%", "share=1s", "share=99%", "speed=1s", "ttft=-1s"),
        *("ttft=1s,ttft=2s", "ttft=1s,share=0%", "ttft=1s,share=101%"),
    ],
)
def test_an_objective_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="objective"):
        parse_objective(text)


@pytest.mark.parametrize("text", ["", "0", "5-", "9-5", "1-2-3", "-5", "x", "1000001"])
def test_a_length_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="--prompt-tokens"):
        parse_lengths(text, option="--prompt-tokens")


@settings(max_examples=25)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=50))
def test_percentiles_are_those_of_numpy(values: list[float]) -> None:
    found = distribution(values)
    expected = np.percentile(values, [50, 90, 99])
    assert [found.p50, found.p90, found.p99] == pytest.approx(list(expected), rel=1e-9)
    assert found.mean == pytest.approx(math.fsum(values) / len(values))
    assert (found.count, found.min, found.max) == (len(values), min(values), max(values))


def test_nothing_measured_has_no_percentiles() -> None:
    assert distribution([]).p99 is None


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(1e-3, 1e6), st.none() | st.floats(0, 1e6)), max_size=30),
    st.booleans(),
    st.booleans(),
    st.none() | st.just((5.0, "bound")),
)
@example(points=[(1.0, 5e-324)], is_x_log=False, is_y_log=True, bound=(5.0, "bound"))
@example(points=[(1.0, 5e-324)], is_x_log=False, is_y_log=False, bound=None)
def test_any_points_can_be_drawn(
    points: list[tuple[float, float | None]],
    is_x_log: bool,
    is_y_log: bool,
    bound: tuple[float, str] | None,
) -> None:
    chart = Chart(
        title="<a & b>",
        x_name="x",
        y_name="y",
        series=[Series("<one>", points), Series("two", [])],
        is_x_log=is_x_log,
        is_y_log=is_y_log,
        bound=bound,
    )
    drawn = draw(chart)
    assert "&lt;a &amp; b&gt;" in drawn
    assert "<one>" not in drawn
    assert "nan" not in drawn.replace("Nothing", "")
    assert "inf" not in drawn
