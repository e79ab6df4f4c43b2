"""`nextword bench` under load: open loops, repeats, objectives, the sweep, its page."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nextword.address import parse_address
from nextword.bench.measurement import Measurement, Sender
from nextword.bench.objective import parse_objective
from nextword.bench.open_loop import TargetPool, run_open_loop
from nextword.bench.plan import Level, Plan
from nextword.bench.prompts import Ask
from nextword.bench.records import RequestRecord
from nextword.bench.results import ErrorCount, Goodput, LevelResult, summarize
from nextword.bench.sweep import PRECISION, SweepResult, sweep

from tests.clients.conftest import TypeIn
from tests.clients.test_bench import measure
from tests.contract.live_server import Server

ADDRESS = parse_address("http://127.0.0.1:1")
SMALL = ("--prompt-tokens", "5", "--max-tokens", "4")


def test_an_open_loop_sends_at_its_rate_over_both_protocols(
    type_in: TypeIn, server: Server
) -> None:
    urls = ["--url", server.rest, "--url", f"grpc://{server.grpc}"]
    load = ["--rate", "20,50", "--requests", "5", "--warmup", "1", "--objective", "e2e=99s"]
    code, report = measure(type_in, *urls, *SMALL, *load, "--arrivals", "constant")
    assert code == 0
    found = [(level["protocol"], level["rate"]) for level in report["levels"]]
    assert found == [("rest", 20), ("rest", 50), ("grpc", 20), ("grpc", 50)]
    for level in report["levels"]:
        assert (level["concurrency"], level["num_offered"], level["num_ok"]) == (None, 5, 5)
        assert level["goodput"] == {
            "num_met": 5,
            "share": 1.0,
            "requests_per_second": level["rate"],
            "is_held": True,
        }
        # The last one is due after four pauses, whatever the server does.
        assert level["seconds"] >= 4 / level["rate"]
        assert level["send_delay_seconds"]["count"] == 5
        assert level["num_output_tokens"] == 20


def test_an_open_loop_waits_for_no_answer_and_counts_from_when_a_request_was_due() -> None:
    """A client that waited for answers would send one request here, and never a second."""
    arrivals = [0.0, 0.001, 0.002, 0.003, 0.004]
    records: list[RequestRecord] = []

    all_sent = asyncio.Event()

    class Stalled:
        async def send(self, ask: Ask, record: RequestRecord) -> None:
            record.note_sending(ask)
            if len(records) == len(arrivals):
                all_sent.set()
            await all_sent.wait()

        async def close(self) -> None:
            pass

    async def run() -> None:
        plan = Plan(addresses=(ADDRESS,), rates=(1000.0,), num_requests=5, seconds=None)
        level = next(plan.levels())
        source = plan.prompts.asks("a", prefix_key="b", vocabulary_size=9)
        await run_open_loop(
            TargetPool(Stalled),
            sender=Sender(plan, Measurement(level)),
            asks=source,
            records=records,
            arrivals=arrivals,
            started_at=100.0,
        )

    asyncio.run(run())
    assert [record.started_at for record in records] == [100.0 + after for after in arrivals]
    assert all(record.sent_at is not None for record in records)


def test_repeats_take_turns_and_are_told_by_their_median(type_in: TypeIn, url: str) -> None:
    words = ["--concurrency", "1,2", "--requests", "2", "--repeats", "3", "--warmup", "0"]
    code, report = measure(type_in, "--url", url, *SMALL, *words)
    assert code == 0
    order = [(level["repeat"], level["concurrency"]) for level in report["levels"]]
    assert order == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    for repeated in report["repeated_levels"]:
        speeds = sorted(
            level["output_tokens_per_second"]
            for level in report["levels"]
            if level["concurrency"] == repeated["concurrency"]
        )
        assert repeated["output_tokens_per_second"] == {
            "lowest": speeds[0],
            "median": speeds[1],
            "highest": speeds[2],
        }


def test_what_misses_the_objective_is_no_goodput(type_in: TypeIn, url: str) -> None:
    words = ["--concurrency", "1", "--requests", "3", "--objective", "ttft=0.001us"]
    code, report = measure(type_in, "--url", url, *SMALL, *words)
    assert code == 0
    (level,) = report["levels"]
    assert level["num_ok"] == 3
    assert (level["goodput"]["share"], level["goodput"]["is_held"]) == (0.0, False)
    sweep = [*words[4:], "--sweep", "--seconds", "0.1"]
    code, report = measure(type_in, "--url", url, *SMALL, *sweep)
    assert code == 1
    assert [found["limit"] for found in report["sweeps"]] == ["alone"]


def test_a_conversation_is_a_target_too(type_in: TypeIn, server: Server) -> None:
    words = ["--api", "openai-chat", "--concurrency", "2", "--requests", "4", *SMALL]
    code, report = measure(type_in, "--url", server.rest, *words)
    assert code == 0
    assert report["levels"][0]["num_output_tokens"] == 16


def test_parameters_and_a_shared_prefix_reach_the_server(
    type_in: TypeIn, server: Server, url: str
) -> None:
    words = ["--concurrency", "1", "--requests", "2", *SMALL, "--shared-prefix-tokens", "4"]
    code, report = measure(type_in, "--url", url, *words, "--parameter", "top_k=3")
    assert code == 0
    assert report["plan"]["parameters"] == {"top_k": 3}
    assert report["plan"]["shared_prefix_tokens"] == 4
    code, report = measure(type_in, "--url", url, *words, "--parameter", "top_p=7.0")
    assert code == 1
    assert report["levels"][0]["errors"][0]["code"] == "invalid_value"
    both = ["--api", "openai", "--parameter", "top_k=3", "--parameter", "logprobs=2"]
    code, report = measure(type_in, "--url", server.rest, *words, *both)
    assert code == 0


def result_of(level: Level, share: float, *, is_late: bool) -> LevelResult:
    """What a level would bring at a server that answers in half a second."""
    objective = parse_objective("ttft=1s,share=90%")
    measured = Measurement(level, ended_at=1.0)
    empty = summarize(measured, objective)
    half = replace(empty.request_seconds, p50=0.5)
    return replace(
        empty,
        goodput=Goodput(1, share, 1.0, is_held=share >= 0.9),
        request_seconds=half,
        client_cpu_share=1.0 if is_late else 0.0,
    )


def search(
    share_at: Callable[[float], float], *, late_above: float = 1e9, full_above: float = 1e9
) -> SweepResult:
    plan = Plan(addresses=(ADDRESS,), is_sweep=True, objective=parse_objective("ttft=1s,share=90%"))

    async def run_level(level: Level) -> LevelResult:
        rate = level.rate or 0.0
        result = result_of(level, share_at(rate), is_late=rate > late_above)
        full = (ErrorCount("client_limit", 1, "full"),) if rate > full_above else ()
        return replace(result, errors=full)

    return asyncio.run(sweep(plan, ADDRESS, measure=run_level))


@settings(max_examples=50)
@given(st.floats(0.2, 5000.0))
def test_a_sweep_finds_the_rate_that_a_server_holds(capacity: float) -> None:
    found = search(lambda rate: 1.0 if rate <= capacity else 0.5)
    assert found.limit == "objective"
    assert found.held_rate is not None
    assert found.missed_rate is not None
    assert found.held_rate <= capacity < found.missed_rate
    # Rates have three digits.
    assert found.missed_rate / found.held_rate <= PRECISION * 1.01
    assert f"holds {found.held_rate:g} requests/s" in found.verdict


def test_a_sweep_says_when_its_own_client_or_nothing_was_the_limit() -> None:
    own = search(lambda rate: 1.0 if rate <= 40 else 0.0, late_above=30)
    assert own.limit == "client"
    assert "at least" in own.verdict
    full = search(lambda rate: 1.0 if rate <= 40 else 0.0, full_above=30)
    assert full.limit == "client"
    assert search(lambda rate: 0.0).limit == "alone"
    assert search(lambda rate: 0.0 if rate else 1.0).held_rate is None
    endless = search(lambda _: 1.0)
    assert (endless.limit, endless.missed_rate) == ("client", None)


def test_a_noisy_server_ends_a_sweep_too() -> None:
    rng = random.Random(0)
    for _ in range(50):
        found = search(lambda rate: 1.0 if rate == 0 else rng.random())
        assert found.limit == "objective"


class Tags(HTMLParser):
    """Counts elements, and notices what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]


def test_a_sweep_ends_with_what_the_server_holds_and_a_page_that_needs_nothing_else(
    type_in: TypeIn, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextword.bench.sweep.MIN_REQUESTS", 5)
    page, file = tmp_path / "report.html", tmp_path / "report.json"
    words = [
        "--sweep",
        "--objective",
        "ttft=30s,itl=10s",
        "--seconds",
        "0.1",
        "--warmup",
        "1",
        *SMALL,
    ]
    code, out, err = type_in(
        "bench", "--url", server.rest, *words, "--html", str(page), "--output", str(file)
    )
    assert code == 0
    held = json.loads(file.read_bytes())["sweeps"][0]["held_rate"]
    assert f"{held:g} requests/s" in out.splitlines()[-1]
    assert "1 client alone: kept" in err
    tags = Tags()
    tags.feed(page.read_text("utf-8"))
    assert tags.counts["svg"] >= 5
    assert tags.counts["table"] == 1
    assert tags.fetched == []
    assert f"{held:g} requests/s" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--requests", "1", "--seconds", "1"], "--requests or --seconds"),
        (["--concurrency", "1,two"], "1,two"),
        (["--concurrency", "0"], "--concurrency"),
        (["--concurrency", ""], "--concurrency"),
        (["--rate", "1,-2"], "1,-2"),
        (["--rate", "0"], "--rate"),
        (["--rate", "0.01"], "--rate 0.01 sends no request"),
        (["--max-tokens", "0"], "--max-tokens"),
        (["--seconds", "nan"], "--seconds"),
        (["--repeats", "0"], "--repeats"),
        (["--prompt-tokens", "4000", "--max-tokens", "200"], "4096"),
        (["--shared-prefix-tokens", "32"], "--shared-prefix-tokens"),
        (["--vocabulary-size", "10"], "--vocabulary-size"),
        (["--api", "other"], "--api"),
        (["--output", "no/such/folder/report.json"], "no/such/folder"),
        (["--html", "no/such/folder/report.html"], "no/such/folder"),
        (["--prompts", "no/such/file"], "no/such/file"),
        (["--model", "nobody"], "nobody"),
        (["--objective", "ttft=3"], "ttft=3"),
        (["--sweep"], "--objective"),
        (["--sweep", "--objective", "ttft=1s", "--rate", "1"], "--rate"),
        (["--sweep", "--objective", "ttft=1s", "--requests", "1"], "--requests"),
        (["--parameter", "top_k"], "top_k"),
        (["--parameter", "top_k=a"], "top_k=a"),
        (["--parameter", 'top_k="a"'], "top_k"),
        (["--parameter", "max_tokens=3"], "max_tokens"),
        (["--parameter", "best=3"], "best"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_before_anything_is_sent(
    type_in: TypeIn, server: Server, words: list[str], named: str
) -> None:
    code, out, err = type_in("bench", "--url", server.rest, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert named in err
