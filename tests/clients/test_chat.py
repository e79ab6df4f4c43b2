"""Conversations: by the library over both ways to wait, and in the terminal."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nextword import (
    ChatMessage,
    ConnectionFailedError,
    InvalidRequestError,
    NotPossibleError,
    ProtocolError,
    SamplingParameters,
)

from tests.clients.conftest import Connect, Serve, TypeIn
from tests.clients.waiting import wait_until
from tests.contract.live_server import START_SECONDS, Server

PROGRAM = Path(sys.executable).with_name("nextword")
SEEDED = SamplingParameters(max_tokens=8, seed=3, temperature=1.0)
LONG = SamplingParameters(max_tokens=3000, ignore_eos=True, temperature=1.0)
HELLO = [ChatMessage("system", "Be brief."), ChatMessage("user", "Hello")]
CANCELLED = 'nextword_requests_total{model="tiny",outcome="cancelled"'


def test_an_answer_comes_in_pieces_and_ends_with_its_usage(
    server: Server, connect: Connect
) -> None:
    with connect(server.rest).stream_chat(HELLO, parameters=SEEDED) as stream:
        pieces = list(stream)
    assert stream.message.role == "assistant"
    assert stream.message.content == "".join(piece.text for piece in pieces)
    assert stream.usage is not None
    assert (stream.finish_reason, stream.usage.completion_tokens) == ("length", 8)
    again = connect(server.rest).stream_chat(HELLO, parameters=SEEDED).read_all()
    assert again == stream.message


def test_closing_an_answer_cancels_it(server: Server, connect: Connect) -> None:
    before = server.metric(CANCELLED)
    with connect(server.rest).stream_chat(HELLO, parameters=LONG) as stream:
        next(stream)
    assert list(stream) == []
    wait_until(lambda: server.metric(CANCELLED) == before + 1)


def test_an_answer_that_breaks_off_keeps_what_came(serve: Serve, connect: Connect) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    event = b'data: {"choices": [{"delta": {"content": "He"}, "finish_reason": null}]}\n\n'
    stream = connect(serve([head, event])).stream_chat(HELLO)
    with stream, pytest.raises((ProtocolError, ConnectionFailedError)):
        list(stream)
    assert stream.message.content == "He"


def test_a_conversation_goes_over_rest_only(server: Server, connect: Connect) -> None:
    with pytest.raises(NotPossibleError, match="REST"):
        list(connect(f"grpc://{server.grpc}").stream_chat(HELLO))


def test_a_wrong_message_names_its_place(server: Server, connect: Connect) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        list(connect(server.rest).stream_chat([]))
    assert caught.value.field == "messages"


@pytest.mark.parametrize(
    "parameters",
    [SamplingParameters(n=2), SamplingParameters(logprobs=0), SamplingParameters(echo=True)],
)
def test_what_one_answer_cannot_hold_is_refused_before_it_is_sent(
    closed_port: int, connect: Connect, parameters: SamplingParameters
) -> None:
    """Two answers would arrive word by word in one text."""
    client = connect(f"http://127.0.0.1:{closed_port}")
    with pytest.raises(InvalidRequestError) as caught:
        client.stream_chat(HELLO, parameters=parameters)
    (field,) = parameters.given()
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_lines_of_a_pipe_are_turns_of_one_conversation(
    type_in: TypeIn, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("chat", "--url", server.rest, "--seed", "3", "--max-tokens", "8", "-t", "1", "--json")
    say(monkeypatch, "Hello\nand\\\nmore\n/new\nHello\n")
    code, out, err = type_in(*words)
    assert (code, err) == (0, "")
    first, second, anew = [json.loads(line) for line in out.splitlines()]
    assert first == anew
    assert first["role"] == "assistant"
    # The second turn has the first one, with its answer, in its prompt.
    assert second["usage"]["prompt_tokens"] > 2 * first["usage"]["prompt_tokens"]
    _, out, _ = type_in(*words[:-1], "Hello")
    assert out == f"{first['content']}\n"
    _, out, _ = type_in(*words, "--system", "Be brief.", "Hello")
    told = json.loads(out)["usage"]["prompt_tokens"]
    assert told > first["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["Hello", "--model", "nobody"], 2, "model_not_found"),
        (["Hello", "--top-k", "-7"], 2, "top_k"),
        (["Hello", "--timeout", "0.001"], 4, "deadline"),
    ],
)
def test_a_mistake_is_one_line(
    type_in: TypeIn, server: Server, words: list[str], code: int, line: str
) -> None:
    given, out, err = type_in("chat", "--url", server.rest, *words)
    assert (given, out, err.count("\n")) == (code, "", 1)
    assert line in err


class Terminal:
    """A conversation in a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self._own, theirs = pty.openpty()
        self.shown = b""
        self.process = subprocess.Popen(
            [PROGRAM, "chat", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "dumb"},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(theirs)

    def wait_for(self, text: bytes) -> None:
        """Read until the terminal shows a text, and forget what came up to it."""
        while text not in self.shown:
            self.shown += os.read(self._own, 65536)
        self.shown = self.shown.partition(text)[2]

    def type(self, text: bytes) -> None:
        os.write(self._own, text)

    def leave(self) -> int:
        try:
            return self.process.wait(START_SECONDS)
        finally:
            self.process.kill()
            os.close(self._own)


def test_ctrl_c_ends_an_answer_and_not_the_conversation(server: Server) -> None:
    before = server.metric(CANCELLED)
    terminal = Terminal("--url", server.rest, "--max-tokens", "3000", "-t", "0")
    terminal.wait_for(b"> ")
    terminal.type(b"Hello\n")
    wait_until(lambda: server.metric("nextword_engine_running") == 1)
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for(b"[cancelled")
    wait_until(lambda: server.metric(CANCELLED) == before + 1)
    terminal.wait_for(b"> ")
    terminal.type(b"/bogus\n")
    terminal.wait_for(b"/new, /again and /quit are known")
    terminal.wait_for(b"> ")
    terminal.type(b"/quit\n")
    assert terminal.leave() == 2


def test_a_shell_completes_commands_options_and_models(server: Server) -> None:
    def offered(*words: str) -> list[str]:
        environment = {
            "_NEXTWORD_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(("nextword", *words)),
            "COMP_CWORD": str(len(words)),
            "NEXTWORD_URL": server.rest,
        }
        done = subprocess.run(
            [PROGRAM], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert offered("c") == ["chat"]
    assert offered("generate", "--top") == ["--top-k", "--top-p"]
    assert offered("generate", "--model", "tiny:") == ["tiny:ngram", "tiny:ngram@1"]
