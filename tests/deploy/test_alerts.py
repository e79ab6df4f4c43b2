"""The alert rules: each is described, ends as it must, and fires when it should and not before."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict, cast

import pytest
import yaml

from deploy.dashboard.checks import compared
from deploy.dashboard.prometheus_process import SHIPPED, read_configuration

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
UNIT_TESTS = HERE / "alerts.test.yml"


class Rule(TypedDict):
    """One rule as it stands in the file."""

    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


class Group(TypedDict):
    """Rules that are evaluated together."""

    name: str
    rules: list[Rule]


@pytest.fixture(scope="module")
def rules() -> list[Rule]:
    """All rules of the file."""
    text = (SHIPPED / "alerts.yml").read_text(encoding="utf-8")
    groups = cast("list[Group]", yaml.safe_load(text)["groups"])
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own checker."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    return program


def run(*command: str, folder: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_rule_has_its_section_of_the_runbook_and_no_section_is_left_over(
    rules: list[Rule],
) -> None:
    names = [rule["alert"] for rule in rules]
    assert len(names) == len(set(names)) > 10
    page = (REPOSITORY / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == names
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_every_rule_ends_with_a_comparison(rules: list[Rule]) -> None:
    """So that what it compares can be looked at while nothing is wrong."""
    for rule in rules:
        assert compared(rule["expr"])
    with pytest.raises(ValueError, match="comparison"):
        compared("absent(up)")


def test_rules_and_configuration_pass_promtool(promtool: str) -> None:
    checked = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", f"{SHIPPED}/alerts.yml")
    assert checked.returncode == 0, checked.stderr
    checked = run(promtool, "check", "config", "--lint=all", f"{SHIPPED}/prometheus.yml")
    assert checked.returncode == 0, checked.stderr


def test_every_alert_fires_on_its_mishap_and_only_then(rules: list[Rule], promtool: str) -> None:
    played = UNIT_TESTS.read_text(encoding="utf-8")
    assert {rule["alert"] for rule in rules} <= set(re.findall(r"\bNextword\w+", played))
    tested = run(promtool, "test", "rules", str(UNIT_TESTS))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_wrong_threshold_would_be_noticed(tmp_path: Path, promtool: str) -> None:
    """The control of the test above."""
    text = (SHIPPED / "alerts.yml").read_text(encoding="utf-8")
    assert text.count("> 0.01") == 1
    (tmp_path / "alerts.yml").write_text(text.replace("> 0.01", "> 0.03"), encoding="utf-8")
    played = UNIT_TESTS.read_text(encoding="utf-8")
    played = played.replace("../../deploy/prometheus/", "")
    (tmp_path / "test.yml").write_text(played, encoding="utf-8")
    tested = run(promtool, "test", "rules", "test.yml", folder=tmp_path)
    assert tested.returncode == 1
    assert "NextwordFailing" in tested.stdout + tested.stderr


def test_prometheus_scrapes_the_services_of_the_compose_file() -> None:
    """Jobs and ports; the Compose tests see it scrape."""
    configuration = read_configuration()
    service, trainer = configuration["scrape_configs"]
    assert (service["job_name"], trainer["job_name"]) == ("nextword", "nextword-train")
    assert service.get("static_configs") == [{"targets": ["service:9090"]}]
    (lookup,) = trainer.get("dns_sd_configs", [])
    assert (lookup["names"], lookup["port"]) == (["train"], 9091)
    composed = cast(
        "dict[str, dict[str, object]]",
        yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")),
    )
    assert {"service", "train"} <= composed["services"].keys()
    assert "--metrics-port 9091" in str(composed["services"]["train"])
