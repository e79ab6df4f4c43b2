"""The engine process by itself: a socket pair, frames, and how it ends."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.engine.frames import (
    LENGTH_BYTES,
    FromEngine,
    ToEngine,
    decode_from_engine,
    encode_frame,
    frame_length,
)
from service.engine.messages import (
    Cancel,
    EngineFinish,
    Heartbeat,
    Load,
    Loaded,
    Pause,
    Phase,
    Resume,
    StepOutput,
    Submit,
    TokenOutput,
)

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 60.0


class Front:
    """The other end of an engine process."""

    def __init__(self, load: Load, *, module: str) -> None:
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(SECONDS)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--socket-fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=REPOSITORY,
                stderr=subprocess.PIPE,
                text=True,
            )
        self.send(load)

    def send(self, *messages: ToEngine) -> None:
        self.connection.sendall(b"".join(encode_frame(message) for message in messages))

    def read(self) -> FromEngine:
        """The next message; EOFError when the process has closed its end."""
        return decode_from_engine(self._exactly(frame_length(self._exactly(LENGTH_BYTES))))

    def steps(self) -> Iterator[StepOutput]:
        """Steps from now on."""
        while True:
            message = self.read()
            if isinstance(message, StepOutput):
                yield message

    def outputs(self) -> Iterator[TokenOutput]:
        """Outputs from now on."""
        for step in self.steps():
            yield from step.outputs

    def ended(self) -> tuple[int, str]:
        """Wait for the end of the process; its status and what it wrote."""
        with contextlib.suppress(EOFError):
            while True:
                self.read()
        _, log = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, log

    def close(self) -> None:
        self.connection.close()
        self.process.communicate(timeout=SECONDS)

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            piece = self.connection.recv(size - len(received))
            if not piece:
                raise EOFError
            received += piece
        return received


StartFront = Callable[[str], Front]


def load_of(directory: str) -> Load:
    return Load(
        directory=directory,
        device="cpu",
        dtype="f32",
        num_threads=1,
        max_running=4,
        max_context_tokens=None,
    )


@pytest.fixture
def start() -> Iterator[StartFront]:
    """Starts an engine process with a fault; it is loaded."""
    fronts: list[Front] = []

    def start_one(fault: str) -> Front:
        front = Front(load_of(fault), module="tests.service.faulty_engine_process")
        fronts.append(front)
        assert isinstance(front.read(), Loaded)
        return front

    yield start_one
    for front in fronts:
        front.close()


def request(number: int, *, max_tokens: int = 5, timeout_seconds: float | None = None) -> Submit:
    return Submit(
        request_id=number,
        prompt_ids=[1, 2, 3, number],
        max_tokens=max_tokens,
        timeout_seconds=timeout_seconds,
    )


def test_a_request_is_paused_resumed_refused_late_or_cancelled(start: StartFront) -> None:
    front = start("none")
    front.send(request(1), Pause(1), request(2))
    outputs = front.outputs()
    ids = [next(outputs).request_id for _ in range(5)]
    assert ids == [2] * 5
    # Nothing but the paused one is left: the deadline is noticed although no message comes.
    front.send(request(3, timeout_seconds=0.3), Pause(3))
    assert next(outputs) == TokenOutput(3, 0, [], EngineFinish.DEADLINE)
    front.send(Resume(1))
    assert [next(outputs).request_id for _ in range(5)] == [1] * 5
    front.send(request(4, max_tokens=10**6))
    assert next(outputs) == TokenOutput(4, 0, [], EngineFinish.INTERNAL_ERROR)
    front.send(request(5, max_tokens=200), Cancel(5), request(6, max_tokens=1))
    assert next(outputs).request_id == 6
    # H108: without its front it is of no use.
    front.connection.shutdown(socket.SHUT_WR)
    status, log = front.ended()
    assert status == 0
    assert "UnsupportedRequestError" in log


def test_an_engine_that_cannot_compute_ends_its_process(start: StartFront) -> None:
    """H51: the front hears the end of the socket, and answers everybody."""
    front = start("computing")
    front.send(request(1), request(2))
    status, log = front.ended()
    assert status == 1
    assert "EngineFailedError" in log


def test_an_engine_that_stalls_says_so_and_then_ends(start: StartFront) -> None:
    """H60: and says nothing else meanwhile, which could pass for progress."""
    front = start("stalled")
    front.send(request(1))
    messages: list[FromEngine] = []
    with contextlib.suppress(EOFError):
        while True:
            messages.append(front.read())
    beats = [message for message in messages if isinstance(message, Heartbeat)]
    assert beats == messages
    phases = [beat.phase for beat in beats]
    first = phases.index(Phase.STALLED)
    assert set(phases[first:]) == {Phase.STALLED}
    assert (beats[first].num_waiting, beats[first].num_running) == (1, 0)
    status, log = front.ended()
    assert status == 1
    assert "1 waiting" in log


def test_an_engine_whose_books_are_wrong_ends_when_it_is_idle(start: StartFront) -> None:
    """H55, in production."""
    front = start("leaky")
    front.send(request(1, max_tokens=1))
    status, log = front.ended()
    assert status == 1
    assert "ConservationError" in log
