"""A real server in a process of its own, for campaigns and tests to ask and to look at."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

__all__ = ["HTTP", "REPOSITORY", "SECONDS", "ServerProcess", "running_server"]

REPOSITORY = Path(__file__).resolve().parents[2]
# Bound of starting, answering and leaving, far above what is usual.
SECONDS = 60
# Made once, since that takes several times as long as a request, and without TLS, since reading the
# certificates takes longer still. Each request has a connection of its own: none is left behind.
HTTP = httpx2.Client(
    timeout=SECONDS, verify=False, limits=httpx2.Limits(max_keepalive_connections=0)
)


@dataclass
class ServerProcess:
    """A running server.

    Attributes:
        rest: Its REST address, with the scheme.
        grpc: Its gRPC address.
        log: What it wrote to its log.
    """

    process: subprocess.Popen[str]
    rest: str
    grpc: str
    log: list[str] = field(default_factory=list[str])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """One GET of REST."""
        return HTTP.get(self.rest + path, **options)

    def post(self, path: str, body: object, **options: Any) -> httpx2.Response:
        """One POST of a JSON body."""
        return HTTP.post(self.rest + path, json=body, **options)

    def metric(self, name: str) -> float:
        """The sum of the series whose line begins with a name, labels included."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def engine_process_id(self) -> int:
        """The child that computes; another one may write conversations."""
        command = ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (line,) = [line for line in out.splitlines() if "render_process" not in line]
        return int(line.split()[0])


@contextmanager
def running_server(
    *arguments: str, module: Sequence[str] = ("service",), leave_seconds: float = SECONDS
) -> Generator[ServerProcess, None, None]:
    """A server for as long as the block runs.

    Args:
        arguments: Options of nextword-serve; ports are chosen by the system.
        module: What runs it, with arguments of its own first.
        leave_seconds: What it gets to drain at the end, before it is killed.

    Raises:
        RuntimeError: It ended before it served.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *module, "--rest-port", "0", "--grpc-port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    log: list[str] = []
    # A pipe that nobody empties would block the server in the end.
    reader = threading.Thread(target=log.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        banner = ""
        for line in process.stdout:
            banner += line
            if "curl" in line:
                break
        rest, grpc = re.search(r"REST +(\S+)", banner), re.search(r"gRPC +(\S+)", banner)
        if rest is None or grpc is None:
            raise RuntimeError("the server did not start: " + " ".join(log[-3:]))
        yield ServerProcess(process, rest[1], grpc[1], log)
    finally:
        process.terminate()
        try:
            process.wait(leave_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(SECONDS)
        process.stdout.close()
        process.stderr.close()
