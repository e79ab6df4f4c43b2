"""Servers that fall silent, hang up or refuse: the right error in time, and nothing is left."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

import httpx2
import pytest
from nextword import (
    Client,
    ConnectionFailedError,
    DeadlineExceededError,
    InvalidRequestError,
    NextwordError,
    OverloadedError,
    ProtocolError,
    SamplingParameters,
    ServerFaultError,
    TextStream,
    UnavailableError,
)
from nextword.errors import ErrorFacts
from nextword.retries import Attempts

from service.errors import ErrorKind, RequestError
from tests.clients.conftest import Connect, Scripted
from tests.clients.scripted_servers import Answer, Wire, cut_wire
from tests.clients.waiting import PATIENCE_SECONDS, wait_until
from tests.contract.live_server import Server

LONG = SamplingParameters(max_tokens=4000, ignore_eos=True, temperature=1.0)
FULL = RequestError(ErrorKind.SERVER_OVERLOADED, "full", retry_after_seconds=0)
LOADING = RequestError(ErrorKind.MODEL_LOADING, "loading")
WRONG = RequestError(ErrorKind.INVALID_VALUE, "no", field="top_k")
BROKEN = RequestError(ErrorKind.NUMERICAL_ERROR, "not a number")
WHOLE = Answer(texts=("some", " text"))


@pytest.fixture
def wire(url: str) -> Iterator[Wire]:
    """What stands before the real server."""
    with cut_wire(urlsplit(url).port or 0) as wire:
        yield wire


@pytest.fixture
def bad_client(url: str, wire: Wire, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client at the other end of the wire, that gives up soon after the deadline."""
    for module in ("rest_calls", "grpc_calls", "client", "async_client"):
        monkeypatch.setattr(f"nextword.{module}.GRACE_SECONDS", 0.1)
    return connect(f"{urlsplit(url).scheme}://127.0.0.1:{wire.port}", max_retries=0)


@pytest.fixture(autouse=True)
def nothing_is_left(server: Server) -> Iterator[None]:
    """The server has no request of a test, and the client no alarm, when it is over."""
    yield
    wait_until(lambda: server.metric("nextword_engine_running") == 0)
    alarms = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for alarm in alarms:
        alarm.join(PATIENCE_SECONDS)
    assert not [alarm for alarm in alarms if alarm.is_alive()]


def read_to_its_error(stream: TextStream) -> NextwordError:
    with pytest.raises(NextwordError) as caught:
        list(stream)
    return caught.value


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("after_bytes", [0, 7])
def test_a_connection_that_ends_keeps_what_came(
    bad_client: Client, wire: Wire, how: Literal["close", "reset"], after_bytes: int
) -> None:
    with bad_client.stream("x", parameters=LONG) as stream:
        first = next(stream)
        wire.fail(how, after_bytes=after_bytes)
        error = read_to_its_error(stream)
        (choice,) = stream.choices
    assert type(error) is ConnectionFailedError
    assert "broke" in str(error)
    assert choice.text.startswith(first.text)
    assert choice.token_ids[: len(first.token_ids)] == first.token_ids
    assert (choice.finish_reason, stream.summary) == ("", None)
    assert list(stream) == []


def test_a_stream_that_falls_silent_ends_at_its_deadline(
    bad_client: Client, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A single read may last for longer than the test: only the deadline ends the wait.
    def long_reads(_seconds: float) -> httpx2.Timeout:
        return httpx2.Timeout(300.0)

    for module in ("rest_transport", "async_rest_transport"):
        monkeypatch.setattr(f"nextword.{module}.timeouts", long_reads)
    started = time.monotonic()
    with bad_client.stream("x", parameters=LONG, timeout_seconds=1.0) as stream:
        next(stream)
        wire.fail("stall", after_bytes=5)
        error = read_to_its_error(stream)
        assert stream.choices[0].token_ids
    assert type(error) is DeadlineExceededError
    assert time.monotonic() - started >= 1.0


def test_a_server_that_takes_a_call_and_says_nothing_is_given_up(
    bad_client: Client, wire: Wire
) -> None:
    wire.fail("stall")
    calls = (
        lambda: bad_client.generate("x", timeout_seconds=0.2),
        lambda: list(bad_client.stream("x", timeout_seconds=0.2)),
    )
    for call in calls:
        with pytest.raises(DeadlineExceededError) as caught:
            call()
        assert (caught.value.code, caught.value.status) == ("deadline_exceeded", 504)


def test_a_call_is_sent_again_when_its_connection_ended(
    url: str, wire: Wire, connect: Connect
) -> None:
    wire.fail("close")
    client = connect(f"{urlsplit(url).scheme}://127.0.0.1:{wire.port}", max_retries=20)
    mend = threading.Timer(0.2, wire.mend)
    mend.start()
    assert client.tokenize("a")[0].id
    mend.join()


@pytest.mark.parametrize("whole", [False, True])
def test_a_generation_is_not_sent_again_when_its_connection_ended(
    url: str, wire: Wire, connect: Connect, whole: bool
) -> None:
    client = connect(f"{urlsplit(url).scheme}://127.0.0.1:{wire.port}", max_retries=20)
    prompt, short = "Send me once.", SamplingParameters(max_tokens=2)
    wire.fail("close", once_sent=prompt.encode())

    def ask() -> None:
        if whole:
            client.generate(prompt, parameters=short)
        else:
            client.stream(prompt, parameters=short).read_all()

    with pytest.raises(ConnectionFailedError, match="broke") as caught:
        ask()
    assert caught.value.was_sent
    assert bytes(wire.sent).count(prompt.encode()) == 1


def test_a_server_that_is_not_reached_is_asked_again(
    url: str, closed_port: int, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so a generation is no exception."""
    errors: list[NextwordError] = []
    followed = Attempts.may_follow

    def may_follow(attempts: Attempts, error: NextwordError) -> bool:
        errors.append(error)
        return followed(attempts, error)

    monkeypatch.setattr(Attempts, "may_follow", may_follow)
    client = connect(f"{urlsplit(url).scheme}://127.0.0.1:{closed_port}", max_retries=2)
    with pytest.raises(ConnectionFailedError, match="nobody answers") as caught:
        client.generate("x")
    assert not caught.value.was_sent
    assert len(errors) == 3


@pytest.mark.parametrize("refusal", [FULL, LOADING])
def test_what_passes_is_asked_again(
    scripted: Scripted, connect: Connect, refusal: RequestError
) -> None:
    url, script = scripted(Answer(error=refusal), Answer(error=refusal), WHOLE)
    generation = connect(url).stream("x").read_all()
    assert generation.choices[0].text == "some text"
    assert script.num_requests == 3


def test_what_does_not_pass_is_told_after_the_last_attempt(
    scripted: Scripted, connect: Connect
) -> None:
    url, script = scripted(Answer(error=LOADING))
    with pytest.raises(UnavailableError):
        list(connect(url, max_retries=1).stream("x"))
    assert script.num_requests == 2


def test_what_stays_wrong_is_asked_once(scripted: Scripted, connect: Connect) -> None:
    url, script = scripted(Answer(error=WRONG), WHOLE)
    with pytest.raises(InvalidRequestError) as caught:
        list(connect(url).stream("x"))
    assert (script.num_requests, caught.value.field) == (1, "top_k")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(texts=("some",), error=BROKEN), ServerFaultError),
        (Answer(texts=("some",), error=LOADING), UnavailableError),
        (Answer(texts=("some",), nonsense=b"\xff\xff\xff"), ProtocolError),
        (Answer(texts=("some",), is_whole=False), ProtocolError),
    ],
)
def test_a_stream_that_goes_wrong_is_not_begun_again(
    scripted: Scripted, connect: Connect, answer: Answer, kind: type[NextwordError]
) -> None:
    url, script = scripted(answer, WHOLE)
    with connect(url).stream("x") as stream:
        error = read_to_its_error(stream)
        assert type(error) is kind
        assert stream.choices[0].text == "some"
        with pytest.raises(ProtocolError):
            stream.read_all()
    assert script.num_requests == 1


def test_pauses_double_and_those_of_a_server_are_obeyed() -> None:
    attempts = Attempts(max_retries=9, seconds=100.0)
    unreached = ConnectionFailedError("nobody answers")
    pauses: list[float] = []
    while attempts.may_follow(unreached):
        pauses.append(attempts.pause_seconds)
    assert len(pauses) == 9
    for number, pause in enumerate(pauses):
        assert 0.75 * 0.01 * 2**number <= pause <= 0.01 * 2**number
    told = Attempts(max_retries=1, seconds=100.0)
    assert told.may_follow(_full(7.5))
    assert told.pause_seconds == 7.5
    assert not told.may_follow(_full(7.5))


@pytest.mark.parametrize(("seconds", "hint"), [(5.0, 6.0), (1000.0, 121.0)])
def test_a_pause_that_is_too_long_is_an_error_at_once(seconds: float, hint: float) -> None:
    assert not Attempts(max_retries=2, seconds=seconds).may_follow(_full(hint))


def test_later_attempts_get_what_is_left_of_the_time() -> None:
    attempts = Attempts(max_retries=2, seconds=30.0)
    assert attempts.seconds() == 30.0
    assert 0 < attempts.seconds() < 30.0


def _full(seconds: float) -> OverloadedError:
    facts = ErrorFacts(code="server_overloaded", status=429, retry_after_seconds=seconds)
    return OverloadedError("full", facts=facts)


def test_failures_leave_no_open_file(url: str, wire: Wire) -> None:
    def fail_once() -> None:
        wire.mend()
        with (
            Client(f"{urlsplit(url).scheme}://127.0.0.1:{wire.port}", max_retries=0) as client,
            client.stream("x", parameters=LONG) as stream,
        ):
            next(stream)
            wire.fail("reset")
            read_to_its_error(stream)

    # The libraries keep a few for themselves from the first time on.
    fail_once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        fail_once()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
