"""What a server does with what it is given to serve: all of it, or one line that says why not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.main import main
from tests.contract.live_server import Server, StartServer

PATIENCE_SECONDS = 40.0


def test_a_taken_port_is_one_line_and_no_half_server(server: Server, artifact: Path) -> None:
    """H86, H109."""
    rest_port, grpc_port = server.rest.rpartition(":")[2], server.grpc.rpartition(":")[2]
    for flags in (
        ["--rest-port", rest_port, "--grpc-port", "0"],
        ["--rest-port", "0", "--grpc-port", grpc_port],
    ):
        done = run_server("--model", str(artifact), *flags)
        assert done.returncode == 1
        assert f"{flags[0] if flags[1] != '0' else flags[2]}" in done.stderr
        assert "Address already in use" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_cannot_be_served_is_one_line(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """H6, H104."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for file in artifact.iterdir():
        (tmp_path / "broken" / file.name).write_bytes(file.read_bytes()[:-1])
    for flags in (
        ["--model", str(tmp_path / "nothing")],
        ["--models", str(tmp_path / "empty")],
        ["--model", str(tmp_path / "broken")],
        ["--model", str(artifact), "--model", str(artifact)],
    ):
        assert main([*flags, "--rest-port", "0", "--grpc-port", "0"]) == 2, flags
        error = capsys.readouterr().err
        assert error.startswith("nextword-serve: "), error
        assert error.count("\n") == 1, error


def test_weights_that_are_no_numbers_end_the_server_with_one_line(
    artifact: Path, tmp_path: Path
) -> None:
    """H6: found by the engine, told by the front."""
    shutil.copytree(artifact, tmp_path / "model", ignore=shutil.ignore_patterns("manifest.json"))
    (weights,) = (tmp_path / "model").glob("*.safetensors")
    # The last value of the last tensor becomes a NaN.
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\xc0\x7f")
    done = run_server("--model", str(tmp_path / "model"), "--rest-port", "0", "--grpc-port", "0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("nextword-serve: ")


def test_a_store_serves_the_newest_valid_version_of_each_name(
    artifact: Path, tmp_path: Path, start_server: StartServer
) -> None:
    """And what is passed over is said, with the reason."""
    store = tmp_path / "store"
    for version in ("1", "2"):
        shutil.copytree(artifact, store / "tiny" / version)
    (store / "tiny" / "2" / "config.json").write_text("{}")
    shutil.copytree(artifact, store / "broken" / "1", ignore=shutil.ignore_patterns("*.json"))
    server = start_server("--models", str(store), folder=None)
    (model,) = server.get("/v1/models").json()["data"]
    assert (model["id"], model["version"]) == ("tiny", "1")
    assert any("tiny@2 is refused" in line for line in server.log)
    assert any("broken@1 is refused" in line for line in server.log)
    assert server.stop() == 0


def run_server(*flags: str) -> subprocess.CompletedProcess[str]:
    """A server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "service", *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
