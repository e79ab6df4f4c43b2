"""Keys in the client: shown over both protocols and by every command, and never repeated."""

import json
from pathlib import Path

import pytest
from nextword import AuthenticationError, Client, NotPossibleError, SamplingParameters
from nextword.bench.plan import Plan

from tests.clients.conftest import TypeIn
from tests.contract.live_server import Server, StartServer

KEY = "a-key-with-canary-72930165"
PARAMETERS = SamplingParameters(max_tokens=3, seed=4)


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What server and clients can share: comments, a key, a name."""
    path = tmp_path_factory.mktemp("secrets") / "keys"
    path.write_text(f"# who may ask\n\n  {KEY} alice # hers\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(start_server: StartServer, key_file: Path) -> Server:
    """A server that asks for the key."""
    return start_server("--api-key-file", str(key_file))


@pytest.fixture(autouse=True)
def no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEXTWORD_API_KEY", "NEXTWORD_KEY_FILE", "NEXTWORD_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_client_with_the_key_may_call_everything(url: str) -> None:
    with Client(url, api_key=KEY) as client:
        whole = client.generate("Once", parameters=PARAMETERS)
        with client.stream("Once", parameters=PARAMETERS) as stream:
            assert stream.read_all().choices == whole.choices
        ids = [token.id for token in client.tokenize("Once")]
        assert client.detokenize(ids) == "Once"
        assert client.get_model("tiny").id == client.list_models()[0].id


def test_a_client_without_the_key_is_told_so(url: str) -> None:
    for api_key in (None, "another-key-of-20-chars", KEY[:-1]):
        with Client(url, api_key=api_key) as client:
            for call in (
                client.list_models,
                lambda client=client: client.generate("Once"),
                lambda client=client: client.stream("Once").read_all(),
            ):
                with pytest.raises(AuthenticationError) as refused:
                    call()
                assert (refused.value.code, refused.value.status) == ("invalid_api_key", 401)
                assert refused.value.request_id
                assert not refused.value.is_retryable


@pytest.mark.parametrize("bad", ["", "two words", "line\nend", f"{KEY}\r\nx: y", "k\u00e9y", "=a"])
def test_what_cannot_be_a_key_is_not_sent_and_not_repeated(url: str, bad: str) -> None:
    with pytest.raises(NotPossibleError) as refused:
        Client(url, api_key=bad)
    assert str(refused.value).startswith("the API key must be letters, digits")
    assert KEY not in str(refused.value)


COMMANDS = pytest.mark.parametrize(
    "words",
    [
        ("generate", "Once", "--max-tokens", "3"),
        ("tokens", "Once"),
        ("models",),
        ("bench", "-n", "2", "-c", "1", "--warmup", "0", "--max-tokens", "3", "--json"),
    ],
    ids=lambda words: words[0],
)


@COMMANDS
def test_every_command_shows_the_key_of_a_file_or_of_the_environment(
    type_in: TypeIn,
    url: str,
    key_file: Path,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, _, err = type_in(*words, "--url", url)
    assert code == 2
    assert "(invalid_api_key); give the key by --key-file FILE or NEXTWORD_API_KEY" in err
    assert err.count("\n") == 1
    code, out, err = type_in(*words, "--url", url, "--key-file", str(key_file))
    assert (code, KEY in out + err) == (0, False)
    monkeypatch.setenv("NEXTWORD_API_KEY", KEY)
    assert type_in(*words, "--url", url)[0] == 0
    # What is named comes before what happens to be set.
    monkeypatch.setenv("NEXTWORD_API_KEY", "another-key-of-20-chars")
    monkeypatch.setenv("NEXTWORD_KEY_FILE", str(key_file))
    assert type_in(*words, "--url", url)[0] == 0


def test_the_openai_load_test_shows_it_too(type_in: TypeIn, server: Server, key_file: Path) -> None:
    words = ("bench", "--api", "openai", "-n", "1", "-c", "1", "--max-tokens", "3", "--json")
    code, out, _ = type_in(*words, "--url", server.rest, "--key-file", str(key_file))
    assert code == 0
    assert json.loads(out)["levels"][0]["num_ok"] == 1


def test_health_needs_no_key(type_in: TypeIn, server: Server) -> None:
    """H16: probes and containers have none."""
    assert type_in("health", "--url", server.rest, "--url", f"grpc://{server.grpc}")[0] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "there is no key in the key file"),
        ("# nothing\n \n", "there is no key in the key file"),
        ("k\u00e9y", "the API key must be letters, digits"),
        (b"\xff", "is not UTF-8 text"),
    ],
)
def test_a_wrong_key_file_is_one_line(
    type_in: TypeIn, tmp_path: Path, content: str | bytes | None, words: str
) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = type_in("models", "--key-file", str(path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_plan_does_not_show_its_key() -> None:
    assert KEY not in repr(Plan(addresses=(), concurrencies=(1,), api_key=KEY))
