"""The metrics port, scraped as Prometheus scrapes it."""

import io
import re
import socket
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.training.told_run import scrape, step_facts, tell_a_run
from training.progress import Progress
from training.progress.metrics_port import MetricsPortError

# Words for which Prometheus' own linter asks for another unit or type.
LINTED_UNITS = {"bits", "milliseconds", "minutes", "hours", "kilobytes", "megabytes", "percent"}
LINTED_TYPES = {"gauge", "counter", "histogram", "summary", "count", "sum", "bucket"}


def test_prometheus_reads_the_newest_figures_and_nothing_before_it_is_known(tmp_path: Path) -> None:
    with Progress(tmp_path / "log.jsonl", metrics_port=0, stream=io.StringIO()) as progress:
        port = progress.metrics_port
        assert port is not None
        assert scrape(port) == {}
        tell_a_run(progress)
        figures = scrape(port)
        assert figures["nextword_training_step"] == 20
        assert figures["nextword_training_planned_steps"] == 100
        assert figures["nextword_training_loss_nats"] == 4.0
        assert figures["nextword_training_tokens_total"] == 20_000
        assert figures["nextword_training_tokens_per_second"] == 48_000
        assert figures["nextword_training_learning_rate"] == 0.001
        assert figures["nextword_training_epochs"] == 5.0
        assert figures["nextword_training_remaining_seconds"] == 160
        assert figures["nextword_training_best_bpb"] == 1.85
        assert figures["nextword_training_ngram_bpb"] == 2.01
        assert figures["nextword_training_finished"] == 0
        progress.event("step", **step_facts(21, loss=float("nan")))
        assert scrape(port)["nextword_training_loss_nats"] != 4.0
        progress.event("end", reason="done", steps=21)
        assert scrape(port)["nextword_training_finished"] == 1
    with pytest.raises(OSError, match="refused"):
        scrape(port)


def test_metric_names_follow_the_conventions(tmp_path: Path) -> None:
    with Progress(tmp_path / "log.jsonl", metrics_port=0, stream=io.StringIO()) as progress:
        tell_a_run(progress)
        address = f"http://127.0.0.1:{progress.metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode("utf-8")))
    assert len(families) > 15
    for family in families:
        assert re.fullmatch(r"nextword_training(_[a-z0-9]+)*", family.name)
        assert not (LINTED_UNITS | LINTED_TYPES) & set(family.name.split("_"))
        assert family.documentation.endswith(".")
        # A total is a counter and a counter is a total.
        is_total = any(sample.name.endswith("_total") for sample in family.samples)
        assert is_total == (family.type == "counter")


def test_a_taken_port_is_one_line_that_names_it_and_the_log_is_released(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port: int = other.getsockname()[1]
        with pytest.raises(MetricsPortError) as caught:
            Progress(log, metrics_port=port, stream=io.StringIO())
    assert str(port) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(MetricsPortError, match="65535"):
        Progress(log, metrics_port=70_000, stream=io.StringIO())


def test_a_plan_that_is_not_known_yet_is_not_exported(tmp_path: Path) -> None:
    with Progress(tmp_path / "log.jsonl", metrics_port=0, stream=io.StringIO()) as progress:
        for step in (1, 2):
            progress.event("step", **{**step_facts(step), "num_steps": 0})
        assert progress.metrics_port is not None
        figures = scrape(progress.metrics_port)
    assert "nextword_training_step" in figures
    assert not figures.keys() & {
        "nextword_training_planned_steps",
        "nextword_training_remaining_seconds",
    }


@pytest.mark.skipif(sys.platform == "darwin", reason="one loopback address only")
def test_it_listens_where_it_is_told_to_and_nowhere_else(tmp_path: Path) -> None:
    log, stream = tmp_path / "log.jsonl", io.StringIO()
    with Progress(log, metrics_port=0, metrics_host="127.0.0.2", stream=stream) as progress:
        port = progress.metrics_port
        assert port is not None
        with urllib.request.urlopen(f"http://127.0.0.2:{port}/metrics", timeout=10) as answer:
            assert answer.status == 200
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=10)
    # An address of documentation, which no machine has.
    with pytest.raises(MetricsPortError, match=r"192\.0\.2\.1"):
        Progress(log, metrics_port=0, metrics_host="192.0.2.1", stream=stream)
