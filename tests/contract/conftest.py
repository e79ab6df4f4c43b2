"""A real server process with a tiny real model, and one way to call it over each transport."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from campaigns.tiny_model import publish_tiny_model
from tests.contract.callers import CALLERS, Caller, Callers
from tests.contract.live_server import Server, StartServer

CONTEXT_TOKENS = 4096


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published version of a random two-layer model over bytes."""
    root = tmp_path_factory.mktemp("store") / "tiny"
    return publish_tiny_model(root, context_tokens=CONTEXT_TOKENS)


@pytest.fixture(scope="session")
def start_server(artifact: Path) -> Iterator[StartServer]:
    """Start servers of the tiny model; what still runs at the end is killed."""
    started: list[Server] = []

    def start(*flags: str, folder: Path | None = artifact) -> Server:
        arguments = ["--rest-port", "0", "--grpc-port", "0"]
        arguments += [] if folder is None else ["--model", str(folder)]
        arguments += ["--threads", "1", "--dtype", "f32", "--device", "cpu", *flags]
        process = subprocess.Popen(
            [sys.executable, "-m", "service", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        server = Server(process, "", "")
        started.append(server)
        assert process.stderr is not None
        reader = threading.Thread(target=_collect, args=(process.stderr, server.log), daemon=True)
        reader.start()
        assert process.stdout is not None
        banner: list[str] = []
        for line in process.stdout:
            banner.append(line)
            if "curl" in line:
                break
        text = "".join(banner)
        rest = re.search(r"REST +(\S+)", text)
        grpc_address = re.search(r"gRPC +(\S+)", text)
        assert rest is not None, (text, server.log)
        assert grpc_address is not None, text
        server.rest, server.grpc = rest[1], grpc_address[1]
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        for stream in (server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Server:
    """One server that tests share; they leave it as they found it."""
    return start_server("--max-running", "4", "--max-queued", "8")


@pytest.fixture(params=list(CALLERS))
def call(request: pytest.FixtureRequest) -> Caller:
    """Each of the four ways to ask for a continuation."""
    return CALLERS[request.param]


@pytest.fixture(scope="session")
def callers() -> Callers:
    """All four ways by name."""
    return CALLERS


def _collect(stream: IO[str], lines: list[str]) -> None:
    lines.extend(stream)
