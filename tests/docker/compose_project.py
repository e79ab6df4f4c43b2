"""docker-compose.yml as a user runs it, under a name, on ports and with folders of a test's own."""

import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.models.containers import Container

REPOSITORY = Path(__file__).resolve().parents[2]
# A bound, far above what any command takes.
COMMAND_SECONDS = 500.0
PUBLISHED = ("rest", "grpc", "prometheus", "grafana")


def compose_command() -> list[str]:
    """How Compose is called on this machine: the plugin, else the older command."""
    plugin = ["docker", "compose"]
    found = subprocess.run([*plugin, "version"], capture_output=True, check=False)
    if found.returncode == 0:
        return plugin
    assert shutil.which("docker-compose"), "neither `docker compose` nor docker-compose is here"
    return ["docker-compose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeProject:
    """One project.

    Attributes:
        name: Prefix of everything that Compose makes for it.
        environment: What Compose is run with.
        ports: What is published on 127.0.0.1, by the names in `PUBLISHED`.
        data: The user's texts.
        secrets: The user's keys.
    """

    name: str
    client: docker.DockerClient
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    data: Path
    secrets: Path

    def compose(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Compose, whatever comes of it; `variables` are set for this command alone."""
        return subprocess.run(
            [*compose_command(), *arguments],
            cwd=REPOSITORY,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def succeed(self, *arguments: str, **variables: str) -> str:
        """Run Compose, which must end well; what it wrote."""
        done = self.compose(*arguments, **variables)
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{' '.join(arguments)}: {output}"
        return output

    def url(self, published: str) -> str:
        """Where a port answers; REST and gRPC as the client writes them."""
        scheme = "grpc" if published == "grpc" else "http"
        return f"{scheme}://127.0.0.1:{self.ports[published]}"

    def get(self, published: str, path: str) -> str:
        """One GET."""
        with urllib.request.urlopen(self.url(published) + path, timeout=30) as answer:
            return answer.read().decode()

    def container(self, service: str) -> Container:
        """A service's only container, as it is now, whether it runs or not."""
        labels = [
            f"com.docker.compose.project={self.name}",
            f"com.docker.compose.service={service}",
        ]
        (container,) = self.client.containers.list(all=True, filters={"label": labels})
        return container

    def is_healthy(self, service: str) -> bool:
        """Whether the engine's own health check says so."""
        state = self.container(service).attrs["State"]
        return state["Running"] and state["Health"]["Status"] == "healthy"

    def volume(self, name: str) -> str:
        """The engine's name of a volume."""
        return f"{self.name}_{name}"


@contextmanager
def open_project(
    client: docker.DockerClient, images: Mapping[str, str], folder: Path
) -> Generator[ComposeProject, None, None]:
    """A project, of which nothing is left in the end.

    Args:
        images: What to run, by the variables of docker-compose.yml.
        folder: Where its texts and keys lie.
    """
    ports = free_ports()
    for name in ("data", "secrets"):
        (folder / name).mkdir(mode=0o755)
    inherited = {name: value for name, value in os.environ.items() if "NEXTWORD" not in name}
    name = f"nextwordtest{ports['rest']}"
    project = ComposeProject(
        name=name,
        client=client,
        environment={
            **inherited,
            **images,
            **{
                f"NEXTWORD_PUBLISH_{service.upper()}": f"127.0.0.1:{port}"
                for service, port in ports.items()
            },
            "COMPOSE_PROJECT_NAME": name,
            "NEXTWORD_DATA": str(folder / "data"),
            "NEXTWORD_SECRETS": str(folder / "secrets"),
            "NEXTWORD_POLL_INTERVAL": "0.5",
            # Patience for machines that are busy with other tests.
            "NEXTWORD_DRAIN_TIMEOUT": "120",
            "NEXTWORD_STOP_GRACE": "150s",
        },
        ports=ports,
        data=folder / "data",
        secrets=folder / "secrets",
    )
    try:
        yield project
    finally:
        every_profile = ("--profile", "train", "--profile", "bench")
        project.compose(*every_profile, "down", "--volumes", "--timeout", "5")
        # Containers of `run`, which the older Compose's `down` may pass over.
        left = client.containers.list(
            all=True, filters={"label": f"com.docker.compose.project={name}"}
        )
        for container in left:
            container.remove(force=True)
        for volume in ("models", "prometheus", "grafana"):
            try:
                client.volumes.get(project.volume(volume)).remove(force=True)
            except NotFound:
                continue


def free_ports() -> dict[str, int]:
    """Ports of this machine that were free a moment ago; fixed, so that a new start keeps them."""
    with (
        socket.create_server(("127.0.0.1", 0)) as rest,
        socket.create_server(("127.0.0.1", 0)) as grpc,
        socket.create_server(("127.0.0.1", 0)) as prometheus,
        socket.create_server(("127.0.0.1", 0)) as grafana,
    ):
        sockets = (rest, grpc, prometheus, grafana)
        return {
            name: opened.getsockname()[1] for name, opened in zip(PUBLISHED, sockets, strict=True)
        }
