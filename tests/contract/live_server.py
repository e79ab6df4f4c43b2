"""A running `nextword-serve`, as the tests see it."""

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import httpx2
from grpc_health.v1.health_pb2_grpc import HealthStub

START_SECONDS = 60
# Bounds of waiting, far above what is usual.
PATIENCE_SECONDS = 40.0


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


def wait_until(is_true: Callable[[], bool]) -> None:
    """Poll until something holds; fail when it does not in a long time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


def raw_request(server: Server, body: Mapping[str, object]) -> socket.socket:
    """An open connection with a request on it, so that it can be cut off abruptly."""
    host, _, port = server.rest.removeprefix("http://").partition(":")
    connection = socket.socket()
    # Before it connects, so that the window is small from the start.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    connection.connect((host, int(port)))
    content = json.dumps(body).encode()
    head = f"POST /v1/generate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection
