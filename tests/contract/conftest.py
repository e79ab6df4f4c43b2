"""A real server process with a tiny real model, and one way to call it over each transport."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from campaigns.live.server_process import running_server
from campaigns.live.tiny_model import publish_tiny_model
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
    with ExitStack() as running:

        def start(*flags: str, folder: Path | None = artifact) -> Server:
            arguments = [] if folder is None else ["--model", str(folder)]
            arguments += ["--threads", "1", "--dtype", "f32", "--device", "cpu", *flags]
            return running.enter_context(running_server(*arguments, leave_seconds=0))

        yield start


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
