"""A server while it loads, and how it leaves then; `--check`; settings that no model can have."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import httpx2
import pytest

from service.main import main
from service.settings import SETTING_SPECS
from tests.contract.live_server import is_gone

PATIENCE_SECONDS = 100.0
REPOSITORY = Path(__file__).resolve().parents[2]
Loading: TypeAlias = "Generator[tuple[subprocess.Popen[str], str, int], None, None]"
FLAGS = ("--device", "cpu", "--dtype", "f32", "--threads", "1")


def wait_until(is_true: Callable[[], bool]) -> None:
    """Poll until something holds; fail when it does not in a long time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


def status_of(url: str) -> int | None:
    """The status of a GET, None while nobody answers."""
    try:
        return httpx2.get(url, timeout=PATIENCE_SECONDS, verify=False).status_code
    except httpx2.TransportError:
        return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def children_of(process_id: int) -> list[int]:
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process_id)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in done.stdout.split()]


@contextmanager
def loading_server(artifact: Path) -> Loading:
    """A server whose engine is stopped in the middle of loading: process, address, engine."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "service", "--model", str(artifact), *FLAGS),
            *("--rest-port", str(port), "--grpc-port", "0"),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    engine = None
    try:
        wait_until(lambda: bool(children_of(process.pid)))
        (engine,) = children_of(process.pid)
        maps = Path(f"/proc/{engine}/maps")
        wait_until(lambda: "libtorch" in maps.read_text("ascii", "replace"))
        os.kill(engine, signal.SIGSTOP)
        wait_until(lambda: status_of(f"http://127.0.0.1:{port}/livez") == 200)
        yield process, f"http://127.0.0.1:{port}", engine
    finally:
        process.kill()
        process.wait()
        if engine is not None and not is_gone(engine):
            os.kill(engine, signal.SIGKILL)


def test_while_loading_a_server_lives_refuses_and_leaves_at_a_signal(artifact: Path) -> None:
    """H103, H107: no orphan, the port is free again."""
    with loading_server(artifact) as (process, rest, engine):
        for path in ("/readyz", "/startupz", "/health"):
            answer = httpx2.get(rest + path, timeout=PATIENCE_SECONDS, verify=False)
            assert (answer.status_code, answer.json()["status"]) == (503, "loading")
        refused = httpx2.post(
            rest + "/v1/generate", json={"prompt": "x"}, timeout=PATIENCE_SECONDS, verify=False
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_loading")
        assert int(refused.headers["retry-after"]) >= 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert is_gone(engine)
        assert status_of(rest + "/livez") is None


def test_an_engine_that_loads_dies_with_its_server(artifact: Path) -> None:
    """H108: it is stopped here, so only the kernel can have ended it."""
    with loading_server(artifact) as (process, _, engine):
        process.kill()
        process.wait()
        wait_until(lambda: is_gone(engine))


def run_server(*flags: str) -> "subprocess.CompletedProcess[str]":
    """A server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "service", *FLAGS, *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_check_tries_the_models_and_tells_what_they_take(artifact_with_ngram: Path) -> None:
    done = run_server("--check", "--model", str(artifact_with_ngram), "--max-running", "2")
    assert done.returncode == 0, done.stderr
    for words in (
        "tiny@1: verified, made 8 tokens",
        "executor  cpu-kernels on cpu",
        "dtype     float32",
        "memory    ",
        "KV tokens 8192",
        "context   4096",
        "tiny:ngram@1: verified, made 8 tokens",
        "n-grams   ",
    ):
        assert words in done.stdout


def test_check_says_why_a_model_cannot_be_served(artifact: Path, tmp_path: Path) -> None:
    """A flipped bit is found by its digest alone."""
    for file in artifact.iterdir():
        content = bytearray(file.read_bytes())
        if file.suffix == ".safetensors":
            content[-1] ^= 1
        (tmp_path / file.name).write_bytes(content)
    done = run_server("--check", "--model", f"tiny={tmp_path}")
    assert done.returncode == 2
    assert "SHA-256" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--max-context", "4096", "--kv-cache-memory", "100KiB"), "--kv-cache-memory"),
        (("--memory-limit", "64MiB"), "--memory-limit is 64 MiB"),
    ],
)
def test_limits_that_no_model_can_have_end_the_start(
    artifact: Path, flags: tuple[str, ...], words: str
) -> None:
    """H56: one line that names the setting, and status 2."""
    done = run_server("--model", str(artifact), "--rest-port", "0", "--grpc-port", "0", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pin_without_a_store_is_one_line(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(artifact), "--pin", "tiny@7"]) == 2
    error = capsys.readouterr().err
    assert error == "nextword-serve: --pin needs a model store: give --models too; got 'tiny@7'\n"


def test_print_config_shows_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    """Interfaces 50."""
    assert main(["--print-config", "--threads", "1"]) == 0
    table = capsys.readouterr().out
    assert "threads = 1  (flag --threads)" in table
    assert "(from memory limit " in table
    assert len(table.splitlines()) == len(SETTING_SPECS)
