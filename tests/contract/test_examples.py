"""The example clients do what they say, against a real server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.live_server import Server

CLIENTS = Path(__file__).resolve().parents[2] / "clients"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_curl_streams_words_and_escapes_its_prompt(server: Server) -> None:
    prompt = 'She said:\t"\\o/"\nand left'
    done = run(CLIENTS / "curl" / "stream_words.sh", prompt, server.rest)
    assert done.returncode == 0, done.stdout + done.stderr
    events = [line for line in done.stdout.splitlines() if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    usage = json.loads(events[-2].removeprefix("data: "))["usage"]
    assert usage["prompt_tokens"] == len(prompt)


def test_curl_prints_a_whole_answer(server: Server) -> None:
    done = run(CLIENTS / "curl" / "generate.sh", server.rest)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["parameters"]["seed"] == 7


def test_curl_completes_several_texts_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTWORD_SERVER", server.rest)
    prompts = ["The wolf", 'the "fox"\tand\n\\', "\u00e9"]
    done = run(CLIENTS / "curl" / "completions.sh", *prompts)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["prompt_tokens"] == sum(len(prompt.encode()) for prompt in prompts)


def test_the_grpc_script_streams_words(server: Server) -> None:
    script = CLIENTS / "grpc" / "stream_words.py"
    done = run(sys.executable, script, "Once", "--address", server.grpc, "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Once")
    assert "of tiny@1, seed 3]" in done.stdout


def test_the_grpc_script_tells_what_was_refused(server: Server) -> None:
    script = CLIENTS / "grpc" / "stream_words.py"
    done = run(sys.executable, script, "Once", "--address", server.grpc, "--top-k", "-5")
    assert done.returncode == 1
    assert "INVALID_ARGUMENT: top_k" in done.stderr
    assert "Traceback" not in done.stderr
