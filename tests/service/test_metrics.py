"""What is counted of requests, and the rules that names and labels keep."""

import asyncio
import random
import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import ErrorKind, RequestError
from service.metrics import Metrics
from service.request_ids import Exchange, clean_request_id, trace_id_of
from service.request_log import RequestLog, RequestRecord
from service.scrape import Scraper

# Words for which Prometheus' own linter asks for another unit or type.
_UNITS = re.compile(r"_(bits|milliseconds|minutes|hours|days|kilobytes|megabytes|percent|ms|kb|mb)")
_TYPES = {"gauge", "counter", "histogram", "summary"}
_RESERVED = ("_count", "_sum", "_bucket")


def serve(log: RequestLog, outcome: ErrorKind | str, *, num_tokens: int = 3) -> None:
    """One request that ends in some way."""

    def fill(record: RequestRecord) -> None:
        record.model, record.model_version = "tiny", "1"
        record.num_prompt_tokens = 5
        record.started_at = record.received_at
        for _ in range(num_tokens):
            record.note_tokens(0)
            record.num_completion_tokens += 1

    try:
        with log.request(protocol="rest", route="/v1/generate", exchange=Exchange()) as record:
            fill(record)
            match outcome:
                case ErrorKind():
                    raise RequestError(outcome, "no")
                case "gone":
                    raise asyncio.CancelledError
                case "bug":
                    raise ZeroDivisionError
                case _:
                    pass
    except (RequestError, asyncio.CancelledError, ZeroDivisionError):
        pass


def total(metrics: Metrics, name: str) -> float:
    """Sum over a family's samples of one name."""
    return sum(
        sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    )


def test_every_request_has_one_outcome_and_only_success_has_a_latency() -> None:
    """H116, interfaces 55: outcomes add up to what was received, whatever happens."""
    metrics = Metrics()
    log = RequestLog(metrics)
    rng = random.Random(3)
    outcomes = [*ErrorKind, "ok", "gone", "bug"]
    drawn = [rng.choice(outcomes) for _ in range(2000)]
    for outcome in drawn:
        serve(log, outcome)
    num_ok = drawn.count("ok")
    assert total(metrics, "nextword_requests_received_total") == len(drawn)
    assert total(metrics, "nextword_requests_total") == len(drawn)
    assert total(metrics, "nextword_requests_in_flight") == 0
    assert log.num_open == 0
    for name in (
        "gen_ai_server_request_duration_seconds",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_time_per_output_token_seconds",
        "nextword_queue_seconds",
    ):
        assert total(metrics, f"{name}_count") == num_ok
    # Three tokens have two gaps.
    assert total(metrics, "nextword_inter_token_seconds_count") == 2 * num_ok
    assert total(metrics, "nextword_completion_tokens_total") == 3 * len(drawn)


def test_gaps_are_those_between_the_tokens_of_one_text() -> None:
    """Interfaces 53: with several choices, each has gaps of its own."""
    metrics = Metrics()
    with RequestLog(metrics).request(protocol="grpc", route="x", exchange=Exchange()) as record:
        record.model, record.started_at = "tiny", record.received_at
        for choice in (0, 1, 2, 0, 1, 2):
            record.note_tokens(choice)
    assert total(metrics, "nextword_inter_token_seconds_count") == 3


def test_tokens_count_while_their_stream_lasts_and_once() -> None:
    """A rate of tokens would otherwise be that of the streams that have just ended."""
    metrics = Metrics()
    with RequestLog(metrics).request(protocol="grpc", route="x", exchange=Exchange()) as record:
        record.model = "tiny"
        for num_tokens in (4, 4, 9):
            record.num_completion_tokens = num_tokens
            metrics.refresh()
            assert total(metrics, "nextword_completion_tokens_total") == num_tokens
        record.num_completion_tokens = 10
    metrics.refresh()
    assert total(metrics, "nextword_completion_tokens_total") == 10


def test_more_open_requests_than_the_limit_are_refused_and_counted() -> None:
    """H84."""
    metrics = Metrics()
    log = RequestLog(metrics, max_open=1)
    with (
        log.request(protocol="rest", route="x", exchange=Exchange()),
        pytest.raises(RequestError) as error,
        log.request(protocol="rest", route="x", exchange=Exchange()),
    ):
        pytest.fail("the second request was admitted")
    assert error.value.kind is ErrorKind.SERVER_OVERLOADED
    assert total(metrics, "nextword_requests_total") == 2
    assert total(metrics, "nextword_requests_rejected_total") == 1


def test_names_units_and_buckets_are_as_prometheus_wants_them() -> None:
    """Interfaces 52, 54: the rules of `promtool check metrics`, and promtool where there is one."""
    metrics = Metrics()
    serve(RequestLog(metrics), "ok")
    metrics.http_seconds.labels("GET", "/x", "200", "").observe(0.1)
    metrics.rpc_seconds.labels("grpc", "x", "OK", "").observe(0.1)
    content_type, body = asyncio.run(Scraper(metrics).scrape(""))
    assert content_type.startswith("text/plain; version=0.0.4")
    for family in text_string_to_metric_families(body.decode()):
        assert family.documentation, family.name
        assert ":" not in family.name
        assert family.name == family.name.lower()
        assert not _UNITS.search(family.name), family.name
        assert not _TYPES & set(family.name.split("_")), family.name
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert all(name.endswith(("_total", "_created")) for name in names), names
        elif family.type == "gauge":
            assert not any(name.endswith(("_total", *_RESERVED)) for name in names), names
        else:
            assert family.type == "histogram", family.name
            bounds = sorted({float(s.labels["le"]) for s in family.samples if "le" in s.labels})
            if bounds and family.name.endswith("_seconds"):
                assert bounds[0] <= 0.001
                assert bounds[-2] >= 60.0
        assert not any("le" in s.labels for s in family.samples if not s.name.endswith("_bucket"))
    if (promtool := shutil.which("promtool")) is not None:
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=body, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_openmetrics_is_given_to_those_who_ask_and_a_version_is_never_repeated() -> None:
    """Interfaces 52."""
    scraper = Scraper(Metrics())

    async def both() -> tuple[tuple[str, bytes], tuple[str, bytes]]:
        accept = "application/openmetrics-text; version=9.9, text/plain"
        return await scraper.scrape(accept), await scraper.scrape("text/html, */*")

    (content_type, body), (plain, _) = asyncio.run(both())
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith(b"# EOF\n")
    assert plain.startswith("text/plain")


def test_a_hundred_scrapes_at_once_are_one() -> None:
    """H117."""
    metrics = Metrics()
    scraper = Scraper(metrics)
    num_collected = 0
    collect = metrics.gaps.collect

    def counting() -> object:
        nonlocal num_collected
        num_collected += 1
        return collect()

    metrics.gaps.collect = counting  # pyright: ignore[reportAttributeAccessIssue]

    async def crowd() -> None:
        await asyncio.gather(*(scraper.scrape("") for _ in range(100)))

    asyncio.run(crowd())
    assert num_collected == 1


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        ("00-" + "a1" * 16 + "-" + "b2" * 8 + "-01", "a1" * 16),
        ("01-" + "a1" * 16 + "-" + "b2" * 8 + "-01-later", "a1" * 16),
        ("00-" + "00" * 16 + "-" + "b2" * 8 + "-01", None),
        ("00-" + "a1" * 16 + "-" + "00" * 8 + "-01", None),
        ("ff-" + "a1" * 16 + "-" + "b2" * 8 + "-01", None),
        ("00-" + "A1" * 16 + "-" + "b2" * 8 + "-01", None),
        ("00-a1-b2-01", None),
        ("", None),
        (None, None),
    ],
)
def test_a_trace_is_taken_from_a_well_formed_parent_only(
    given: str | None, trace: str | None
) -> None:
    """Interfaces 41, 60."""
    assert trace_id_of(given) == trace


def test_a_request_id_is_kept_or_replaced_whole() -> None:
    """H43."""
    assert clean_request_id("a.b-c_d:1") == "a.b-c_d:1"
    for given in (None, "", "x" * 65, "a b", "a\r\nb", "\u00e9", "a/b"):
        made = clean_request_id(given)
        assert made.startswith("req-")
        assert made != clean_request_id(given)
