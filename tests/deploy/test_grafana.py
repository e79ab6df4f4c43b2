"""The dashboard file: what Grafana needs is in it, and it asks for nothing that is not exported."""

import io
import json
import re
from pathlib import Path
from typing import cast

import pytest
import yaml
from prometheus_client import CollectorRegistry

from deploy.dashboard.panels import DASHBOARD, Dashboard, DashboardError, read_dashboard
from deploy.dashboard.prometheus_process import SHIPPED, read_configuration
from deploy.dashboard.units import readable
from service.engine_link.engine_figures import EngineFigures
from service.metrics import Metrics
from tests.training.told_run import scrape, tell_a_run
from training.progress import Progress

PROVISIONING = DASHBOARD.parents[1] / "provisioning"
# Of Prometheus itself.
FOREIGN = {"up", "ALERTS"}
FUNCTIONS = {
    *("sum", "min", "max", "count", "by", "rate", "increase", "histogram_quantile", "vector", "or"),
    *("changes", "min_over_time", "max_over_time", "bool"),
}
NAME = re.compile(r"(?<![\w$\"{.])[a-zA-Z_:][\w:]*(?!\w)")


def names_in(expression: str) -> set[str]:
    """Names of series in a query, without labels, their values, windows and functions."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)", "", bare)
    return set(NAME.findall(bare)) - FUNCTIONS


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name that a server or a trainer has."""
    metrics = Metrics()
    EngineFigures(metrics)
    log = tmp_path_factory.mktemp("run") / "log.jsonl"
    with Progress(log, metrics_port=0, stream=io.StringIO()) as progress:
        tell_a_run(progress)
        assert progress.metrics_port is not None
        trained = scrape(progress.metrics_port)
    return names_of(metrics.registry) | trained.keys() | FOREIGN


def names_of(registry: CollectorRegistry) -> set[str]:
    names: set[str] = set()
    for family in registry.collect():
        match family.type:
            case "counter":
                names.add(f"{family.name}_total")
            case "histogram":
                names |= {f"{family.name}{end}" for end in ("_bucket", "_sum", "_count")}
            case _:
                names.add(family.name)
        # Those of the process come as samples alone.
        names |= {sample.name for sample in family.samples}
    return names


@pytest.fixture(scope="module")
def dashboard() -> Dashboard:
    """The file as it is shipped."""
    return read_dashboard()


def test_every_query_asks_for_exported_names_only(dashboard: Dashboard, exported: set[str]) -> None:
    """Interfaces 61."""
    queries = [query for panel in dashboard.panels for query in panel.queries]
    assert len(queries) > 30
    for query in (*queries, *dashboard.variables.values()):
        expression = re.sub(r"^label_values\((\w+), \w+\)$", r"\1", query.expression)
        assert names_in(expression), query.expression
        assert names_in(expression) <= exported, query.expression
    assert not names_in("sum(rate(nextword_renamed_total[1m]))") <= exported


def test_every_alert_asks_for_exported_names_only(exported: set[str]) -> None:
    text = (SHIPPED / "alerts.yml").read_text(encoding="utf-8")
    groups = yaml.safe_load(text)["groups"]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    assert len(expressions) > 10
    for expression in expressions:
        assert names_in(expression) <= exported, expression


def test_nothing_has_to_be_chosen_when_the_dashboard_is_loaded(dashboard: Dashboard) -> None:
    """No import placeholder; the source is the one that is provisioned, by its uid."""
    text = DASHBOARD.read_text(encoding="utf-8")
    assert "__inputs" not in text
    assert not re.search(r"\$\{DS_|\$\{VAR_", text)
    provisioned = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    queries = [query for panel in dashboard.panels for query in panel.queries]
    assert {query.source for query in queries} == {source["uid"]}
    assert {query.source for query in dashboard.variables.values()} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    interval = read_configuration()["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    written = cast("dict[str, object]", json.loads(text))
    assert written["uid"] == "nextword"


def test_panels_have_names_and_units_and_do_not_overlap(dashboard: Dashboard) -> None:
    numbers = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard.panels:
        place = panel.place
        assert 0 <= place.x < place.x + place.width <= 24
        cells = {
            (x, y)
            for x in range(place.x, place.x + place.width)
            for y in range(place.y, place.y + place.height)
        }
        assert not taken & cells, panel.title
        taken |= cells
        if panel.kind != "row":
            assert panel.queries, panel.title
            assert readable(0.5, panel.unit)
    titles = [panel.title for panel in dashboard.panels if panel.kind != "row"]
    assert len(titles) == len(set(titles))


def test_what_the_issue_of_an_operator_is_about_has_a_panel(dashboard: Dashboard) -> None:
    asked = " ".join(query.expression for panel in dashboard.panels for query in panel.queries)
    for name in (
        *("nextword_requests_total", "time_to_first_token", "inter_token", "completion_tokens"),
        *("engine_waiting", "engine_running", "free_blocks", "batch_requests", "reused_prompt"),
        *("model_info", "model_swaps", "refused_versions", "training_step", "held_out"),
    ):
        assert name in asked


@pytest.mark.parametrize(
    ("given", "changed", "words"),
    [
        ('"type": "stat"', '"type": "graph"', "panels[1].type must be one of"),
        ('"w": 4,', "", "panels[1].gridPos.w must be int, got null"),
        ('"title": "Models"', '"title": 3', "panels[1].title must be str, got 3"),
        ('"unit": "none"', '"unit": true', "panels[1].fieldConfig.defaults.unit must be str"),
    ],
)
def test_a_panel_that_grafana_could_not_show_is_named(
    tmp_path: Path, given: str, changed: str, words: str
) -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    assert given in text
    path = tmp_path / "dashboard.json"
    path.write_text(text.replace(given, changed, 1))
    with pytest.raises(DashboardError, match=re.escape(words)):
        read_dashboard(path)
    path.write_text("{")
    with pytest.raises(DashboardError, match="cannot be read as JSON"):
        read_dashboard(path)
