"""A real server for the client's tests, and servers that say whatever a test tells them to."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, cast

import pytest
from nextword import Client
from nextword.command_line.application import run

from tests.clients.driven_client import DrivenClient
from tests.clients.scripted_servers import Answer, Script, scripted_grpc, scripted_rest
from tests.contract.live_server import Server

Serve: TypeAlias = Callable[..., str]
Connect: TypeAlias = Callable[..., Client]
Scripted: TypeAlias = Callable[..., tuple[str, Script]]
TypeIn: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the pauses between attempts."""
    monkeypatch.setattr("nextword.retries.FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture(params=["rest", "grpc"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    """The server's address over each protocol."""
    return server.rest if request.param == "rest" else f"grpc://{server.grpc}"


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Open clients, of both kinds in turn, that end with the test."""
    with contextlib.ExitStack() as stack:

        def connect(url: str, **options: Any) -> Client:
            if request.param == "blocking":
                return stack.enter_context(Client(url, **options))
            return cast("Client", stack.enter_context(DrivenClient(url, **options)))

        yield connect


@pytest.fixture
def client(url: str, connect: Connect) -> Client:
    """A client of both kinds over each protocol."""
    return connect(url)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer each HTTP request with the next of some byte strings; the last one stays.

    Between the pieces of one answer, and after it with `is_silent`, the server waits for the test's
    end or for the client to leave.
    """
    is_over = threading.Event()
    with contextlib.ExitStack() as stack:

        def start(*answers: Sequence[bytes], is_silent: bool = False) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def answer_all() -> None:
                remaining = list(answers)
                while not is_over.is_set():
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    pieces = remaining.pop(0) if len(remaining) > 1 else remaining[0]
                    with connection, contextlib.suppress(OSError):
                        _read_request(connection)
                        for piece in pieces:
                            connection.sendall(piece)
                        if is_silent:
                            # Until the client leaves.
                            connection.recv(1)

            thread = threading.Thread(target=answer_all)
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            stack.callback(is_over.set)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield start


def _read_request(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _receive(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ]
    missing = (lengths[0] if lengths else 0) - len(body)
    while missing > 0:
        missing -= len(_receive(connection))


def _receive(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    if not received:
        raise ConnectionError("the client left before its request was whole")
    return received


@pytest.fixture(params=["rest", "grpc"])
def scripted(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    """Start servers of each protocol that give the answers of a script."""
    start = scripted_rest if request.param == "rest" else scripted_grpc
    with contextlib.ExitStack() as stack:

        def scripted(*answers: Answer, **options: Any) -> tuple[str, Script]:
            script = Script(answers)
            return stack.enter_context(start(script, **options)), script

        yield scripted


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else can take meanwhile."""
    with socket.socket() as closed_door:
        closed_door.bind(("127.0.0.1", 0))
        yield closed_door.getsockname()[1]


@pytest.fixture
def type_in(capsys: pytest.CaptureFixture[str]) -> TypeIn:
    """Run a command in this process: exit code, standard output, standard error."""

    def type_in(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(words)
        out, err = capsys.readouterr()
        return code, out, err

    return type_in
