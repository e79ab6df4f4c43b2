"""The whole life of a Compose project on a real engine: up, asked, scraped, trained, swapped under
load, killed, stopped. Tests share one project and leave it running.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from nextword import Client, NextwordError, SamplingParameters

from tests.docker.compose_project import (
    REPOSITORY,
    ComposeProject,
    compose_command,
    open_project,
)
from tests.docker.live_container import wait_until
from tests.docker.stream_load import StreamLoad

# Of a load: two for each protocol.
NUM_CLIENTS = 4
# A minute's model, but with room for streams that outlast a swap.
QUICK_TRAINING = (
    "--preset smoke --steps 20 --set model.context_length=512 --set run.final_samples=1"
)
# The first process's child that was started first: with an init process, the server itself.
KILL_THE_SERVER = """
import os, pathlib, signal
parents = {}
for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
    name, _, rest = status.read_text().rpartition(")")
    parents[int(status.parent.name)] = int(rest.split()[1])
os.kill(min(p for p, parent in parents.items() if parent == 1 and p != os.getpid()), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def project(
    docker_client: docker.DockerClient,
    service_image: str,
    training_image: str,
    prometheus_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ComposeProject]:
    images = {
        "NEXTWORD_SERVICE_IMAGE": service_image,
        "NEXTWORD_TRAINING_IMAGE": training_image,
        "NEXTWORD_PROMETHEUS_IMAGE": prometheus_image,
    }
    folder = tmp_path_factory.mktemp("compose")
    with open_project(docker_client, images, folder) as project:
        for page in sorted((REPOSITORY / "docs").glob("*.md")):
            shutil.copy(page, project.data / page.name)
        # Grafana's image cannot be had everywhere; it is asked for nothing by the others.
        project.succeed("up", "--detach", "--no-build", "prometheus")
        yield project


def train(project: ComposeProject, name: str) -> str:
    return project.succeed(
        "--profile", "train", "up", "--no-build", "train",
        NEXTWORD_TRAIN_NAME=name, NEXTWORD_TRAIN_ARGS=QUICK_TRAINING,
    )  # fmt: skip


def versions(project: ComposeProject) -> dict[str, str]:
    with Client(project.url("rest")) as client:
        return {model.id: model.version for model in client.list_models()}


def query(project: ComposeProject, expression: str) -> list[float]:
    answer = json.loads(project.get("prometheus", f"/api/v1/query?query={expression}"))
    assert answer["status"] == "success"
    return [float(sample["value"][1]) for sample in answer["data"]["result"]]


def urls(project: ComposeProject) -> list[str]:
    return [project.url("rest"), project.url("grpc")]


def test_up_serves_the_bundled_model_over_both_protocols_and_prometheus_sees_it(
    project: ComposeProject,
) -> None:
    # Prometheus waited for it.
    assert project.is_healthy("service")
    parameters = SamplingParameters(max_tokens=20, seed=1, ignore_eos=True)
    texts: set[str] = set()
    for url in urls(project):
        with Client(url) as client:
            answer = client.generate("Once upon a time", parameters=parameters, model="fairytales")
            assert answer.summary.usage.completion_tokens == 20
            texts.add(answer.choices[0].text)
    assert len(texts) == 1
    wait_until(lambda: query(project, 'up{job="nextword"}') == [1.0])
    wait_until(lambda: sum(query(project, "nextword_model_info")) >= 1)


def test_ports_are_open_on_this_machine_alone(project: ComposeProject) -> None:
    for service in ("service", "prometheus"):
        bindings = project.container(service).attrs["NetworkSettings"]["Ports"]
        published = [binding for found in bindings.values() for binding in found or ()]
        assert published
        assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


def test_a_version_trained_in_compose_replaces_the_old_one_under_load_without_a_lost_stream(
    project: ComposeProject,
) -> None:
    assert "published /models/tale/1" in train(project, "tale")
    wait_until(lambda: versions(project).get("tale") == "1")
    with StreamLoad(urls(project), num_clients=1, model="tale", num_tokens=400) as load:
        assert "published /models/tale/2" in train(project, "tale")
        wait_until(lambda: versions(project)["tale"] == "2")
        num_before = len(load.ended)
        wait_until(lambda: len(load.ended) >= num_before + 8)
    assert not load.errors
    assert load.versions == {"1", "2"}
    ends = {end for end in load.ended if not isinstance(end, NextwordError)}
    assert {len(token_ids) for token_ids, _ in ends} == {400}
    # Each client asks for the same again and again: one text of each version, and no mixture.
    assert len(ends) == 4
    # Nothing was started anew for that, and the trainer was seen at work.
    assert project.container("service").attrs["RestartCount"] == 0
    assert project.container("train").attrs["State"]["ExitCode"] == 0
    assert max(query(project, "max_over_time(nextword_training_step[30m])")) > 0


def test_a_killed_server_comes_back(project: ComposeProject) -> None:
    service = project.container("service")
    started = service.attrs["State"]["StartedAt"]
    with StreamLoad(urls(project), num_tokens=400) as load:
        service.exec_run(["python", "-c", KILL_THE_SERVER])
        load.finish()
    # Every client heard of it.
    assert len(load.errors) == NUM_CLIENTS

    def is_back() -> bool:
        now = project.container("service").attrs["State"]["StartedAt"]
        return now != started and project.is_healthy("service")

    wait_until(is_back)
    with StreamLoad(urls(project), num_tokens=8) as load:
        pass
    assert load.ended
    assert not load.errors
    # So that the other tests find no trace of it.
    project.succeed("up", "--detach", "--no-build", "--force-recreate", "service")
    wait_until(lambda: project.is_healthy("service"))


def test_stop_lets_running_streams_end(project: ComposeProject) -> None:
    # So many that they outlast the start of the command by far.
    with StreamLoad(urls(project), num_clients=8, num_tokens=400) as load:
        load.start_no_more()
        project.succeed("stop", "service")
        stopped: Container = project.container("service")
        assert stopped.attrs["State"]["ExitCode"] == 0
    lines = stopped.logs().decode().splitlines()
    drains = [line for line in lines if '"draining"' in line and '"open_requests"' in line]
    assert json.loads(drains[-1])["open_requests"] > 0
    assert not load.errors
    assert len(load.ended) >= 16
    project.succeed("up", "--detach", "--no-build", "service")
    wait_until(lambda: project.is_healthy("service"))


def test_the_load_test_in_the_box_measures_both_protocols(project: ComposeProject) -> None:
    options = "--concurrency 2 --requests 4 --max-tokens 8 --json"
    output = project.succeed(
        "--profile", "bench", "run", "--rm", "-T", "bench", NEXTWORD_BENCH_ARGS=options
    )
    (line,) = [line for line in output.splitlines() if line.startswith("{")]
    results = json.loads(line)["levels"]
    assert len(results) == 2
    assert {result["num_ok"] for result in results} == {4}


def test_the_service_can_change_no_model(project: ComposeProject) -> None:
    done = project.container("service").exec_run(["touch", "/models/x"])
    assert done.exit_code != 0
    assert b"Read-only" in done.output


def test_the_file_reads_in_every_compose_of_this_machine(project: ComposeProject) -> None:
    assert compose_command()
    listed = project.succeed("--profile", "train", "--profile", "bench", "config", "--services")
    assert {"service", "train", "bench", "prometheus", "grafana"} <= set(listed.split())
    both = ("-f", "docker-compose.yml", "-f", str(Path("deploy") / "docker-compose.gpu.yml"))
    assert "nvidia" in project.succeed(*both, "--profile", "train", "config")
