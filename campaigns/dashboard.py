"""Campaign: a real Prometheus watches a real service under load, a trainer and mishaps included.

`make campaign-dashboard`. Every query of the dashboard and every alert rule must find something,
what Prometheus counted must be what the clients saw, and the alerts that belong to the mishaps must
show. Draws docs/pictures/dashboard.png with --picture. With --control one panel and one rule ask
for a name that nobody exports, and the status is 3 when both were noticed.
"""

import argparse
import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from campaigns.callers.stream_clients import StreamClients
from campaigns.cases.dashboard_load import Phase, Played, play
from campaigns.live.server_process import REPOSITORY, ServerProcess, running_server
from campaigns.verdict import control_status
from deploy.dashboard.checks import dashboard_faults, rule_faults
from deploy.dashboard.drawing import Span, draw
from deploy.dashboard.panels import Dashboard, read_dashboard
from deploy.dashboard.prometheus_api import Prometheus, Rule
from deploy.dashboard.prometheus_process import running_prometheus

SEED = 20261123
NAME = "fairytales"
BUNDLED = REPOSITORY / "artifacts" / NAME / "1"
# What must show of the mishaps.
EXPECTED_ALERTS = ("NextwordVersionRefused", "NextwordEngineRestarted")
NOBODY = "nextword_exported_by_nobody"
SETTLE_SECONDS = 4.0
PATIENCE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Scene:
    """All that runs, while it runs."""

    server: ServerProcess
    prometheus: Prometheus
    store: Path
    metrics_port: int


@contextmanager
def staged(folder: Path) -> Generator[Scene, None, None]:
    """A store with the bundled model, a service of it, and a Prometheus."""
    store = folder / "store"
    shutil.copytree(BUNDLED, store / NAME / "1")
    (folder / "prometheus").mkdir()
    flags = ["--models", str(store), "--max-running", "8", "--max-queued", "8"]
    flags += ["--poll-interval", "0.5", "--log-level", "warning", "--log-format", "json"]
    with running_server(*flags, "--threads", "1") as server:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            metrics_port: int = probe.getsockname()[1]
        targets = {
            "nextword": server.rest.removeprefix("http://"),
            "nextword-train": f"127.0.0.1:{metrics_port}",
        }
        with running_prometheus(folder / "prometheus", targets) as prometheus:
            yield Scene(server, prometheus, store / NAME, metrics_port)


def train(scene: Scene, folder: Path, *, num_steps: int) -> subprocess.Popen[str]:
    """Begin to train on this repository's pages; the service takes up what comes of it."""
    log = (folder / "training.log").open("w")
    with log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "training", "--corpus", str(REPOSITORY / "docs")),
                *("--out", str(scene.store), "--preset", "smoke", "--steps", str(num_steps)),
                *("--set", "schedule.evaluations=20", "--set", "run.threads=1"),
                *("--metrics-port", str(scene.metrics_port)),
            ],
            cwd=REPOSITORY,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )


def publish_damaged(scene: Scene) -> Path:
    """Publish a version whose weights were cut short."""
    version = scene.store / "900"
    unfinished = scene.store / ".900"
    shutil.copytree(BUNDLED, unfinished)
    weights = min(unfinished.glob("*.safetensors"))
    os.truncate(weights, weights.stat().st_size // 2)
    unfinished.rename(version)
    return version


def _take_away(version: Path) -> None:
    """As a whole: a version that vanishes file by file would be judged on the way."""
    away = version.with_name(".removed")
    version.rename(away)
    shutil.rmtree(away)


def kill_engine(scene: Scene) -> None:
    """As the kernel does it to whoever takes too much memory."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(scene.server.process.pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    os.kill(int(listed[0]), signal.SIGKILL)


async def _perform(scene: Scene, folder: Path, seconds: float) -> tuple[Played, str]:
    """The load, and what happens meanwhile; what clients saw, and what the trainer said last."""
    clients = StreamClients(rest=scene.server.rest, grpc=scene.server.grpc)
    shares = ((0.2, 2), (0.2, 6), (0.2, 20), (0.2, 4))
    phases = [Phase(share * seconds, num_clients) for share, num_clients in shares]
    ending = asyncio.Event()
    playing = asyncio.create_task(play(clients, phases, seed=SEED, ending=ending))
    await asyncio.sleep(0.08 * seconds)
    trainer = await asyncio.to_thread(train, scene, folder, num_steps=round(4 * seconds))
    try:
        await asyncio.sleep(0.2 * seconds)
        damaged = await asyncio.to_thread(publish_damaged, scene)
        await asyncio.sleep(0.15 * seconds)
        await asyncio.to_thread(_take_away, damaged)
        await asyncio.sleep(0.2 * seconds)
        kill_engine(scene)
        status = await asyncio.to_thread(trainer.wait, PATIENCE_SECONDS)
        await _wait_swapped(scene)
        # For the new version to be seen at work.
        await asyncio.sleep(0.15 * seconds)
    finally:
        ending.set()
        trainer.kill()
        trainer.wait()
        played = await playing
    words = (folder / "training.log").read_text(encoding="utf-8").splitlines()
    return played, f"status {status}: {words[-1] if words else ''}"


async def _wait_swapped(scene: Scene) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    swapped = f'nextword_model_swaps_total{{model="{NAME}",outcome="swapped"}}'
    while await asyncio.to_thread(scene.server.metric, swapped) == 0:
        if time.monotonic() > end:
            raise TimeoutError("the trainer's version was not taken up")
        await asyncio.sleep(1)


def count_faults(scene: Scene, played: Played, moment: float) -> list[str]:
    """Where Prometheus and the clients disagree."""
    seen = scene.prometheus.at('sum(nextword_requests_total{route=~".*enerate.*"})', moment)
    counted = seen[0].points[0][1] if seen else 0.0
    sent = sum(played.ends.values())
    print(f"requests: {sent} sent, {counted:g} in Prometheus; ends {dict(played.ends)}")
    tokens = scene.prometheus.at("sum(nextword_completion_tokens_total)", moment)
    delivered = tokens[0].points[0][1] if tokens else 0.0
    print(f"tokens: {played.num_tokens} seen by clients, {delivered:g} in Prometheus")
    faults = [] if counted == sent else [f"{sent} requests were sent and {counted:g} are counted"]
    # Those who leave do not read all that was delivered to them.
    if not played.num_tokens <= delivered <= 1.1 * played.num_tokens:
        faults.append(f"clients saw {played.num_tokens} tokens, and {delivered:g} are counted")
    return faults


def alert_faults(scene: Scene, *, start: float, end: float) -> list[str]:
    """The mishaps whose alert never showed."""
    series = scene.prometheus.over(
        "max by (alertname, alertstate) (ALERTS)", start=start, end=end, step=1
    )
    shown = sorted({f"{each.labels['alertname']} {each.labels['alertstate']}" for each in series})
    print("alerts:", ", ".join(shown) or "none")
    names = {each.labels["alertname"] for each in series}
    return [f"{name} did not show" for name in EXPECTED_ALERTS if name not in names]


def misled(dashboard: Dashboard, rules: Sequence[Rule]) -> tuple[Dashboard, list[Rule]]:
    """For the control: one panel and one rule ask for what nobody exports."""
    panels = list(dashboard.panels)
    number = next(n for n, panel in enumerate(panels) if panel.queries)
    query = replace(panels[number].queries[0], expression=NOBODY)
    panels[number] = replace(panels[number], queries=(query,))
    wrong = replace(rules[0], expression=f"{NOBODY} > 1")
    return replace(dashboard, panels=tuple(panels)), [wrong, *rules[1:]]


def check(folder: Path, *, seconds: float, picture: Path | None, is_control: bool) -> int:
    """Run the scene and judge it; the exit status."""
    dashboard = read_dashboard()
    with staged(folder) as scene:
        start = time.time()
        played, trained = asyncio.run(_perform(scene, folder, seconds))
        end = time.time()
        # Two more scrapes, so that the last requests are seen.
        time.sleep(SETTLE_SECONDS)
        span = Span(start, end, step=max(1.0, (end - start) // 200), window="10s")
        rules = scene.prometheus.alert_rules()
        if is_control:
            dashboard, rules = misled(dashboard, rules)
        faults = dashboard_faults(dashboard, scene.prometheus, span)
        faults += rule_faults(scene.prometheus, rules, start=start, end=end)
        num_queries = sum(len(panel.queries) for panel in dashboard.panels)
        print(f"{num_queries} queries and {len(rules)} rules, {len(faults)} without an answer")
        print(f"trainer: {trained}")
        if is_control:
            noticed = [fault for fault in faults if NOBODY in fault]
            return control_status(noticed, is_complete=len(noticed) == 2)
        faults += count_faults(scene, played, end + SETTLE_SECONDS)
        faults += alert_faults(scene, start=start, end=end)
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            draw(dashboard, scene.prometheus, span, picture)
            print(f"drawn: {picture}")
    for fault in faults:
        print("FAULT:", fault)
    return 1 if faults else 0


def main() -> int:
    """Run the campaign; 0 when all was found, 3 when the control was noticed."""
    parser = argparse.ArgumentParser(description="Dashboard and alerts on a watched service.")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--picture", type=Path, help="draw the panels into this PNG")
    parser.add_argument("--control", action="store_true", help="ask for what nobody exports")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return check(
            Path(folder),
            seconds=arguments.seconds,
            picture=arguments.picture,
            is_control=arguments.control,
        )


if __name__ == "__main__":
    sys.exit(main())
