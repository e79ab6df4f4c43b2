"""A real Docker engine, and our two images built on it once for the whole run.

Where no engine answers and none can be started, the tests of this folder are skipped with one line.
"""

import fcntl
import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from tests.docker.live_container import Containers

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON_IMAGE = "python:3.11-slim-bookworm"
PROMETHEUS_IMAGE = "prom/prometheus:v3.5.0"
# Building an image takes minutes the first time.
TIMEOUT_SECONDS = 900
# Of Linux, in its numbering; without it no process may mount, and no engine can run.
CAP_SYS_ADMIN = 21


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder the time that images and containers take."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def docker_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker.DockerClient]:
    """A client of the engine, which is started where the machine has a script for that."""
    script = _engine_script()
    with _alone(tmp_path_factory):
        if script is not None and _may_start_an_engine():
            done = subprocess.run(
                [script, PYTHON_IMAGE, PROMETHEUS_IMAGE],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                pytest.skip(f"the Docker engine did not start: {done.stderr.strip()[-300:]}")
    try:
        client = docker.from_env(timeout=TIMEOUT_SECONDS)
        version = client.version()["ApiVersion"]
    except DockerException as error:
        if script is not None and _may_start_an_engine():
            pytest.skip(f"the Docker engine does not answer: {error}")
        pytest.skip(f"no Docker engine can be started here, and none answers: {error}")
    # A command line that is newer than the engine has to be told.
    os.environ.setdefault("DOCKER_API_VERSION", version)
    yield client
    client.close()


@pytest.fixture(scope="session")
def service_image(
    docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The image of target `service`, built from this tree."""
    with _alone(tmp_path_factory):
        return _build("service")


@pytest.fixture(scope="session")
def training_image(
    docker_client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The image of target `training`, built from this tree."""
    with _alone(tmp_path_factory):
        return _build("training")


@pytest.fixture(scope="session")
def prometheus_image(docker_client: docker.DockerClient) -> str:
    """An image with Prometheus, pulled where it is not there."""
    try:
        docker_client.images.get(PROMETHEUS_IMAGE)
    except ImageNotFound:
        docker_client.images.pull(PROMETHEUS_IMAGE)
    return PROMETHEUS_IMAGE


@pytest.fixture
def containers(docker_client: docker.DockerClient) -> Iterator[Containers]:
    """Starts containers and makes volumes; what is left of them at the test's end is removed."""
    made = Containers(docker_client)
    yield made
    made.remove_all()


def _engine_script() -> Path | None:
    shared = Path(os.environ.get("NEXTWORD_SHARED") or REPOSITORY.parent / "shared")
    script = shared / "docker" / "engine"
    return script if script.is_file() else None


def _may_start_an_engine() -> bool:
    """Whether this process has the rights of a machine's administrator."""
    status = Path("/proc/self/status")
    if not status.exists():
        return False
    words = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
    return os.geteuid() == 0 and bool(int(words["CapEff"], 16) >> CAP_SYS_ADMIN & 1)


def _build(target: str) -> str:
    """Build one target as `make image` does, under a name of the tests; what is known is reused."""
    name = f"nextword-{target}:test"
    command = ["docker", "build", "--network", "host", "--target", target, "--tag", name, "."]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "DOCKER_CLI_HINTS": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return name


@contextmanager
def _alone(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Keep the other workers of this run from doing the same at once."""
    path = tmp_path_factory.getbasetemp().parent / "docker.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
