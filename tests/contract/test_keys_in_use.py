"""What a server does with its keys beside asking: names in the log, changes, caches, bad files."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from service.main import main
from tests.contract.live_server import PATIENCE_SECONDS, Server, StartServer, wait_until

ALICE = "alices-key-canary-0123456789"
BOB = "bobs-key-canary-72930165xyz"
CAROL = "carols-key-canary-555555555"
KEYS = f"# who may ask\n{ALICE} alice\n{BOB}\n"
BODY = {"prompt": "Once", "max_tokens": 3, "seed": 4}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(KEYS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "keys"
    path.write_text(KEYS, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def keyed(start_server: StartServer, shared_file: Path) -> Server:
    """A server that serves those two, and tells all it can; it is given other keys and back."""
    return start_server("--api-key-file", str(shared_file), "--log-level", "debug")


def showing(key: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **headers}


def record_of(server: Server, request_id: str) -> dict[str, Any]:
    """The one log record of a request, which is written beside the serving."""
    wait_until(lambda: any(request_id in line for line in server.log))
    (line,) = [line for line in server.log if request_id in line]
    return json.loads(line)


def figures(server: Server) -> str:
    return server.get("/metrics", headers=showing(ALICE)).text


def figure(server: Server, series: str) -> float:
    lines = [line for line in figures(server).splitlines() if line.startswith(series)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_the_log_names_the_key_and_nothing_shows_it(keyed: Server) -> None:
    """H114, interfaces 56: over both protocols, let in or not."""
    refused = 'nextword_requests_rejected_total{protocol="%s",reason="invalid_api_key"}'
    before = {protocol: figure(keyed, refused % protocol) for protocol in ("rest", "grpc")}
    for key, name in ((ALICE, "alice"), (BOB, "line-3"), (CAROL, None)):
        by_rest, by_grpc = f"rest-{name}", f"grpc-{name}"
        headers = showing(key, **{"x-request-id": by_rest})
        keyed.post("/v1/generate", BODY, headers=headers)
        metadata = tuple(showing(key, **{"x-request-id": by_grpc}).items())
        with grpc.insecure_channel(keyed.grpc) as channel:
            stub = TextGenerationServiceStub(channel)
            request = pb.GenerateTextRequest(prompt="Once")
            call = stub.GenerateText.future(request, timeout=PATIENCE_SECONDS, metadata=metadata)
            assert (call.code() is grpc.StatusCode.OK) is (name is not None)
        for request_id in (by_rest, by_grpc):
            record = record_of(keyed, request_id)
            assert record["api_key"] == name
            assert record["outcome"] == ("invalid_api_key" if name is None else "ok")
            assert record["route"] == "other" if name is None else record["model"] == "tiny"
    for protocol, count in before.items():
        assert figure(keyed, refused % protocol) == count + 1
    told = "\n".join(keyed.log) + figures(keyed)
    assert not re.search('canary|alice(?!")|line-3(?!")', told)
    assert "alice" not in figures(keyed)


def test_no_key_finds_in_the_cache_what_another_has_asked(keyed: Server) -> None:
    """H15: else the time to a first token would tell it."""
    body = {"prompt": "a secret beginning of more than two blocks " * 3, "max_tokens": 1}
    reused = "nextword_engine_reused_prompt_tokens_total"

    def reused_by(key: str) -> float:
        before = figure(keyed, reused)
        assert keyed.post("/v1/generate", body, headers=showing(key)).status_code == 200
        return figure(keyed, reused) - before

    assert reused_by(ALICE) == 0
    assert reused_by(BOB) == 0
    assert reused_by(ALICE) >= 32
    assert reused_by(BOB) >= 32


def test_a_changed_file_is_in_force_without_a_restart(keyed: Server, shared_file: Path) -> None:
    """And one that is wrong is not: the keys from before stay."""

    def status(key: str) -> int:
        return keyed.get("/v1/models", headers=showing(key)).status_code

    refusals = 'nextword_api_key_rereads_total{outcome="refused"}'
    assert (status(BOB), status(CAROL)) == (200, 401)
    try:
        shared_file.write_text(f"{ALICE} alice\n{CAROL} carol\n", encoding="utf-8")
        wait_until(lambda: status(CAROL) == 200)
        assert (status(ALICE), status(BOB)) == (200, 401)
        shared_file.write_text(f"{ALICE}\nshort", encoding="utf-8")
        wait_until(lambda: figure(keyed, refusals) == 1)
        assert (status(ALICE), status(CAROL), status(BOB)) == (200, 200, 401)
    finally:
        shared_file.write_text(KEYS, encoding="utf-8")
    wait_until(lambda: status(BOB) == 200)
    assert status(CAROL) == 401
    (line,) = [line for line in keyed.log if "got 5" in line]
    assert json.loads(line)["level"] == "error"


@pytest.mark.parametrize("flags", [(), ("--check",)], ids=["serve", "check"])
@pytest.mark.parametrize("content", ["", "# nothing\n", "short", None])
def test_a_file_without_good_keys_keeps_the_server_from_starting(
    artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    flags: tuple[str, ...],
) -> None:
    """H12: one line, and no open door."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    ports = ("--rest-port", "0", "--grpc-port", "0")
    arguments = ["--model", str(artifact), *ports, "--api-key-file", str(path)]
    assert main([*arguments, *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"nextword-serve: --api-key-file {path}: ")


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_option_is_no_missing_one(
    artifact: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    blank: str,
) -> None:
    """H12."""
    assert main(["--model", str(artifact), "--api-key-file", blank]) == 2
    assert "--api-key-file must not be empty" in capsys.readouterr().err
    monkeypatch.setenv("NEXTWORD_API_KEY_FILE", blank)
    assert main(["--model", str(artifact)]) == 2
    assert "NEXTWORD_API_KEY_FILE must not be empty" in capsys.readouterr().err


def test_the_settings_in_force_say_the_file_and_not_what_is_in_it(
    key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--api-key-file", str(key_file), "--print-config"]) == 0
    out = capsys.readouterr().out
    assert f"api_key_file = '{key_file}'  (flag --api-key-file)" in out
    assert "canary" not in out


@pytest.mark.parametrize("has_keys", [False, True])
def test_an_open_address_is_warned_of_in_one_line(
    artifact: Path, key_file: Path, has_keys: bool
) -> None:
    """Interfaces 40. The port is taken, so that nothing has to be loaded to see it."""
    flags = ["--api-key-file", str(key_file)] if has_keys else []
    with socket.create_server(("0.0.0.0", 0)) as taken:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "service", "--model", artifact, "--host", "0.0.0.0"),
                *("--rest-port", str(taken.getsockname()[1]), "--grpc-port", "0", *flags),
                *("--management-port", "0"),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    (warning,) = [line for line in done.stderr.splitlines() if '"warning"' in line]
    assert ("TLS" in warning) is has_keys
    assert ("no API keys" in warning) is not has_keys
    assert "--management-port 0 " in warning
