"""What the client's page tells a reader to type does what it says, against a real server."""

import io
import re
import shlex
from pathlib import Path

import pytest
from nextword import AsyncClient, Client

from tests.clients.conftest import TypeIn
from tests.contract.live_server import Server

PAGE = (Path(__file__).resolve().parents[2] / "clients/python/README.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = [block for language, block in BLOCK.findall(PAGE) if language == "python"]
# Load tests take their time and have tests of their own; completion would change this machine.
OTHERS_TEST = ("bench", "--install-completion")
COMMANDS = [
    words[1:]
    for language, block in BLOCK.findall(PAGE)
    if language == "sh"
    for line in block.splitlines()
    if (words := shlex.split(line, comments=True))[:1] == ["nextword"]
    if words[1] not in OTHERS_TEST
]


def at(server: Server, text: str) -> str:
    """The text with this server's addresses and model in it."""
    text = text.replace("http://127.0.0.1:8000", server.rest).replace("fairytales", "tiny")
    # The words of a model over bytes are single letters.
    return text.replace("127.0.0.1:50051", server.grpc).replace('" king"', '"k"')


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_of_the_page_run(
    server: Server,
    program: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # What no URL is given for is the default one's.
    for kind in (Client, AsyncClient):
        monkeypatch.setattr(kind.__init__, "__defaults__", (server.rest,))
    exec(compile(at(server, program), "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:40])
def test_commands_of_the_page_run(
    type_in: TypeIn, server: Server, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTWORD_URL", server.rest)
    typed = io.TextIOWrapper(io.BytesIO(b"Hello\n/new\n/quit\n"))
    monkeypatch.setattr("sys.stdin", typed)
    if "<" in words:
        words = words[: words.index("<")]
    if words[0] == "health":
        words = [*words, "--url", server.rest, "--url", f"grpc://{server.grpc}"]
    if "585 259 576" in words:
        words = ["85 25 76" if word == "585 259 576" else word for word in words]
    code, out, err = type_in(*(at(server, word) for word in words))
    assert (code, bool(out)) == (0, True), err
