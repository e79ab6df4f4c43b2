"""A real Prometheus with the configuration and the rules that are shipped, for other addresses.

What is replaced: whom each job scrapes, and how often, so that seconds are enough to see something.
"""

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import yaml

from deploy.dashboard.prometheus_api import Prometheus, PrometheusError

__all__ = ["SHIPPED", "read_configuration", "running_prometheus"]

SHIPPED = Path(__file__).resolve().parents[1] / "prometheus"
_START_SECONDS = 60


class Job(TypedDict):
    """What a job of the configuration says of its targets."""

    job_name: str
    static_configs: NotRequired[list[dict[str, list[str]]]]
    dns_sd_configs: NotRequired[list[dict[str, object]]]
    relabel_configs: NotRequired[list[dict[str, str]]]


# The words of Prometheus; "global" is none that a class could have as a name.
Configuration = TypedDict(
    "Configuration",
    {"global": dict[str, str], "rule_files": list[str], "scrape_configs": list[Job]},
)


def read_configuration(path: Path = SHIPPED / "prometheus.yml") -> Configuration:
    """The configuration as it lies in a file."""
    return cast("Configuration", yaml.safe_load(path.read_text(encoding="utf-8")))


@contextmanager
def running_prometheus(
    folder: Path, targets: Mapping[str, str], *, interval: str = "1s"
) -> Generator[Prometheus, None, None]:
    """A Prometheus for as long as the block runs.

    Args:
        folder: An empty one, for its configuration and its data.
        targets: HOST:PORT to scrape for each job; jobs that are not named are left out.
        interval: Between two scrapes, and between two turns of the rules.

    Raises:
        PrometheusError: It is not installed, or did not start; its last words say why.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise PrometheusError("prometheus is not installed (Debian: apt-get install prometheus)")
    _write_configuration(folder, targets, interval)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = folder / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_ready(f"http://{address}", process, log)
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()
            process.wait(_START_SECONDS)


def _write_configuration(folder: Path, targets: Mapping[str, str], interval: str) -> None:
    configuration = read_configuration()
    for key in configuration["global"]:
        configuration["global"][key] = interval
    jobs = [job for job in configuration["scrape_configs"] if job["job_name"] in targets]
    for job in jobs:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    configuration["scrape_configs"] = jobs
    (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(configuration)), encoding="utf-8")
    for name in configuration["rule_files"]:
        shutil.copyfile(SHIPPED / name, folder / name)


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=_START_SECONDS):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > end:
                words = " ".join(log.read_text(encoding="utf-8").splitlines()[-2:])
                raise PrometheusError(f"prometheus did not start: {words}") from None
            time.sleep(0.05)
