"""A running `nextword-serve`, as the tests see it."""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import httpx2
from grpc_health.v1.health_pb2_grpc import HealthStub

START_SECONDS = 60


@dataclass
class Server:
    """A running `nextword-serve`."""

    process: subprocess.Popen[str]
    rest: str
    grpc: str
    log: list[str] = field(default_factory=list[str])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(START_SECONDS)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """One GET of REST."""
        return httpx2.get(self.rest + path, timeout=START_SECONDS, verify=False, **options)

    def post(self, path: str, body: object, **options: Any) -> httpx2.Response:
        """One POST of a JSON body."""
        # Without TLS; reading the certificates would take ten times as long as the request.
        return httpx2.post(
            self.rest + path, json=body, timeout=START_SECONDS, verify=False, **options
        )

    def metric(self, name: str) -> float:
        """Sum of the samples of a series; the name may include labels as far as they matter."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def engine_process_id(self) -> int:
        """The child that computes."""
        out = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        (process_id,) = out.split()
        return int(process_id)


def health_stub(channel: grpc.Channel) -> Any:
    """The health service's stub, whose calls its type stubs leave out."""
    return HealthStub(channel)


StartServer: TypeAlias = Callable[..., Server]
