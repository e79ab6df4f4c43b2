"""A real Prometheus with the shipped files scrapes a real service under load, and a trainer's port.

`make campaign-dashboard` does the same for minutes, with a real training run and a lost engine.
"""

import asyncio
import io
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from campaigns.callers.stream_clients import StreamClients
from campaigns.cases.dashboard_load import Phase, Played, play
from campaigns.live.server_process import ServerProcess, running_server
from campaigns.live.tiny_model import publish_tiny_model
from deploy.dashboard.checks import dashboard_faults, rule_faults
from deploy.dashboard.drawing import Span, draw
from deploy.dashboard.panels import Dashboard, read_dashboard
from deploy.dashboard.prometheus_api import Prometheus, PrometheusError
from deploy.dashboard.prometheus_process import running_prometheus
from tests.contract.live_server import wait_until
from tests.training.told_run import tell_a_run
from training.progress import Progress

INTERVAL = "1s"
WINDOW = "8s"


@dataclass(frozen=True, slots=True)
class Watched:
    """What was watched, and when."""

    prometheus: Prometheus
    dashboard: Dashboard
    played: Played
    span: Span


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A service that refused a damaged version, and was loaded."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("watched")
    store = folder / "store"
    name = store / "tiny"
    publish_tiny_model(name)
    flags = ["--models", str(store), "--max-running", "2", "--max-queued", "1"]
    flags += ["--poll-interval", "0.1", "--threads", "1", "--dtype", "f32", "--log-level", "error"]
    log = folder / "training.jsonl"
    with (
        running_server(*flags) as server,
        Progress(log, metrics_port=0, stream=io.StringIO()) as progress,
    ):
        tell_a_run(progress)
        targets = {
            "nextword": server.rest.removeprefix("http://"),
            "nextword-train": f"127.0.0.1:{progress.metrics_port}",
        }
        with running_prometheus(folder, targets, interval=INTERVAL) as prometheus:
            yield perform(server, prometheus, name)


def perform(server: ServerProcess, prometheus: Prometheus, name: Path) -> Watched:
    """A damaged version, then load; scrapes until all of it is known."""
    start = time.time()
    # What rates are made of begins before the first request.
    wait_until(lambda: len(prometheus.at("up == 1", time.time())) == 2)
    publish_damaged(server, name)
    clients = StreamClients(rest=server.rest, grpc=server.grpc)

    async def load() -> Played:
        ending = asyncio.Event()
        ending.set()
        return await play(clients, [Phase(2.5, 8)], seed=1, ending=ending)

    played = asyncio.run(load())
    counted = sum(played.ends.values())

    def is_scraped() -> bool:
        seen = prometheus.at('sum(nextword_requests_total{route=~".*enerate.*"})', time.time())
        rules = prometheus.alert_rules()
        is_judged = all(rule.health != "unknown" for rule in rules)
        return is_judged and bool(seen) and seen[0].points[0][1] == counted

    wait_until(is_scraped)
    span = Span(start, time.time(), step=0.5, window=WINDOW)
    return Watched(prometheus, read_dashboard(), played, span)


def publish_damaged(server: ServerProcess, name: Path) -> None:
    """A version that is refused. The campaign has one that is taken up, which costs an engine."""
    unfinished = name / ".2"
    shutil.copytree(name / "1", unfinished)
    (unfinished / "manifest.json").write_text("{")
    unfinished.rename(name / "2")
    count = 'nextword_model_swaps_total{model="tiny",outcome="damaged"'
    wait_until(lambda: server.metric(count) > 0)


def test_every_query_of_the_dashboard_finds_something(watched: Watched) -> None:
    assert dashboard_faults(watched.dashboard, watched.prometheus, watched.span) == []


def test_every_rule_is_evaluated_and_finds_what_it_compares(watched: Watched) -> None:
    rules = watched.prometheus.alert_rules()
    assert len(rules) > 10
    start, end = watched.span.start, watched.span.end
    assert rule_faults(watched.prometheus, rules, start=start, end=end) == []


def test_a_query_that_nothing_answers_is_a_fault(watched: Watched) -> None:
    """The control: a renamed series, and a query that is none."""
    panels = list(watched.dashboard.panels)
    number = next(n for n, panel in enumerate(panels) if panel.queries)
    for expression, words in (
        ("sum(rate(nextword_renamed_total[$__rate_interval]))", "nothing answers"),
        ("sum(", "parse error"),
    ):
        query = replace(panels[number].queries[0], expression=expression)
        panels[number] = replace(panels[number], queries=(query,))
        dashboard = replace(watched.dashboard, panels=tuple(panels))
        (fault,) = dashboard_faults(dashboard, watched.prometheus, watched.span)
        assert words in fault
        assert panels[number].title in fault
    rule = replace(watched.prometheus.alert_rules()[0], expression="nextword_renamed > 1")
    span = watched.span
    (fault,) = rule_faults(watched.prometheus, [rule], start=span.start, end=span.end)
    assert rule.name in fault


def test_prometheus_counts_what_the_clients_saw(watched: Watched) -> None:
    end = watched.span.end

    def value(query: str) -> float:
        return watched.prometheus.at(query, end)[0].points[0][1]

    ends = watched.played.ends
    for code in ("invalid_value", "model_not_found", "server_overloaded"):
        counted = watched.prometheus.at(f'sum(nextword_requests_total{{outcome="{code}"}})', end)
        assert ends[code] == sum(each.points[0][1] for each in counted)
    assert ends["server_overloaded"] > 0
    # A stream may have ended just before its client left.
    assert 0 < ends["whole"] <= value('sum(nextword_requests_total{outcome="ok"})')
    delivered = value("sum(nextword_completion_tokens_total)")
    # Those who leave do not read all that was delivered to them.
    assert 0 < watched.played.num_tokens <= delivered


def test_the_panels_are_drawn_with_their_numbers(watched: Watched, tmp_path: Path) -> None:
    picture = tmp_path / "dashboard.png"
    drawn = draw(watched.dashboard, watched.prometheus, watched.span, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(drawn) == sum(panel.kind != "row" for panel in watched.dashboard.panels)
    by_title = {each.panel.title: each.series for each in drawn}
    versions = {legend.split()[0] for legend, _ in by_title["Versions served"]}
    assert versions == {"tiny@1"}
    shares = [v for _, s in by_title["Prompt tokens found in the cache"] for _, v in s.points]
    assert all(not share > 1 for share in shares)


def test_no_prometheus_at_an_address_is_one_line() -> None:
    with pytest.raises(PrometheusError, match=r"127\.0\.0\.1:9: no answer") as caught:
        Prometheus("http://127.0.0.1:9").at("up", 0)
    assert "\n" not in str(caught.value)
