"""Containers of our images as the tests see them: started, asked, looked into, removed."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import docker
import httpx2
from docker.models.containers import Container
from docker.models.volumes import Volume

__all__ = ["Containers", "LiveContainer", "as_in_production", "wait_until"]

PORTS = {"rest": 8000, "grpc": 50051, "management": 9090}
# Bounds of waiting, far above what is usual.
PATIENCE_SECONDS = 180.0


def wait_until(is_true: Callable[[], bool], describe: Callable[[], str] = lambda: "") -> None:
    """Poll until something holds; fail when it does not in a long time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < end, describe()
        threading.Event().wait(0.05)


def as_in_production() -> dict[str, Any]:
    """The options of a container that may do nothing but serve."""
    return {
        "read_only": True,
        "tmpfs": {"/tmp": "size=64m"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
    }


@dataclass(frozen=True, slots=True)
class LiveContainer:
    """A container that was started."""

    container: Container

    @property
    def rest(self) -> str:
        """The address of REST on this machine."""
        return f"http://{self._address('rest')}"

    @property
    def grpc(self) -> str:
        """The address of gRPC on this machine."""
        return f"grpc://{self._address('grpc')}"

    @property
    def log(self) -> str:
        """What it has printed."""
        return self.container.logs().decode()

    @property
    def state(self) -> Mapping[str, Any]:
        """What the engine knows of it now."""
        self.container.reload()
        return cast("Mapping[str, Any]", self.container.attrs["State"])

    def _address(self, name: str) -> str:
        """Where a port of it is published now; a restart may change that."""
        self.container.reload()
        (binding, *_) = self.container.ports[f"{PORTS[name]}/tcp"] or [{}]
        return f"{binding['HostIp']}:{binding['HostPort']}"

    def is_ready(self) -> bool:
        """Whether its management port says that it serves."""
        try:
            url = f"http://{self._address('management')}/readyz"
            return httpx2.get(url, timeout=10.0).status_code == 200
        except (httpx2.HTTPError, KeyError):
            return False

    def wait_ready(self) -> "LiveContainer":
        """Wait until it serves."""
        wait_until(lambda: self.is_ready() or self.state["Status"] == "exited", lambda: self.log)
        assert self.state["Status"] != "exited", self.log
        return self

    def metric(self, name: str) -> float:
        """Sum of the samples of a series; the name may include labels as far as they matter."""
        url = f"http://{self._address('management')}/metrics"
        lines = httpx2.get(url, timeout=30.0).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command in it; exit status, and what it printed to both outputs."""
        done = self.container.exec_run(list(command))
        return done.exit_code or 0, cast("bytes", done.output).decode()

    def wait_end(self) -> int:
        """Wait for its end; the exit status."""
        return self.container.wait(timeout=PATIENCE_SECONDS)["StatusCode"]


@dataclass
class Containers:
    """Starts containers on one engine, and removes what is left of them."""

    client: docker.DockerClient
    started: list[Container] = field(default_factory=list[Container])
    volumes: list[Volume] = field(default_factory=list[Volume])

    def start(
        self, image: str, *arguments: str, published: Sequence[str] = tuple(PORTS), **options: Any
    ) -> LiveContainer:
        """Start a container in the background.

        Args:
            image: Its image.
            arguments: What its entrypoint is given.
            published: Ports to publish on free ports of this machine.
            options: As `docker.models.containers` names them.
        """
        ports = {f"{PORTS[name]}/tcp": ("127.0.0.1", None) for name in published}
        given: dict[str, Any] = {"ports": ports, **options}
        container = self.client.containers.create(image, list(arguments), **given)
        self.started.append(container)
        container.start()
        return LiveContainer(container)

    def run(self, image: str, *arguments: str, **options: Any) -> tuple[int, str]:
        """Run a container to its end; exit status, and what it printed to both outputs."""
        done = self.start(image, *arguments, published=(), **options)
        return done.wait_end(), done.log

    def make_volume(self) -> str:
        """An empty named volume."""
        volume = self.client.volumes.create()
        self.volumes.append(volume)
        return volume.name

    def remove_all(self) -> None:
        """Remove every container and volume."""
        for container in reversed(self.started):
            container.remove(force=True, v=True)
        for volume in self.volumes:
            volume.remove(force=True)
