"""`nextword` as a person types it: output, remarks, exit codes, one line for each mistake."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nextword import Client, SamplingParameters
from nextword.command_line.terminal_text import visible

from tests.clients.conftest import TypeIn
from tests.clients.waiting import wait_until
from tests.contract.live_server import START_SECONDS, Server

PROGRAM = Path(sys.executable).with_name("nextword")


def expected_text(url: str, prompt: str | list[int], **parameters: Any) -> str:
    with Client(url) as client:
        answer = client.generate(prompt, parameters=SamplingParameters(**parameters))
    return answer.choices[0].text


def test_generate_prints_the_text_and_nothing_else(type_in: TypeIn, url: str) -> None:
    code, out, err = type_in("generate", "Once", "--url", url, "--seed", "5", "--max-tokens", "9")
    assert code == 0
    assert out == expected_text(url, "Once", seed=5, max_tokens=9)
    assert err.startswith("[length: 9 tokens in ")
    assert "tokens/s" in err
    assert "seed 5, tiny@1]" in err


def test_every_sampling_option_reaches_the_server(type_in: TypeIn, url: str) -> None:
    options: dict[str, object] = {
        "max_tokens": 7,
        "min_tokens": 2,
        "temperature": 0.5,
        "top_k": 30,
        "top_p": 0.9,
        "min_p": 0.01,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "seed": 2**53 - 1,
    }
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    words += ["--stop", "zq", "--stop", "qz", "--stop-token-id", "250", "--logit-bias", "65=-2.5"]
    words += ["--ignore-eos"]
    code, out, err = type_in("generate", "Once", "--url", url, "--json", *words)
    assert (code, err) == (0, "")
    parameters = json.loads(out)["parameters"]
    assert {name: parameters[name] for name in options} == options
    assert parameters["stop"] == ["zq", "qz"]
    assert parameters["stop_token_ids"] == [250]
    assert parameters["logit_bias"] == {"65": -2.5}
    assert parameters["ignore_eos"] is True


def test_options_that_are_not_given_are_the_models_defaults(type_in: TypeIn, url: str) -> None:
    _, out, _ = type_in("generate", "Once", "--url", url, "--json")
    parameters = json.loads(out)["parameters"]
    assert (parameters["temperature"], parameters["top_k"], parameters["n"]) == (0.9, 40, 1)


def test_a_prompt_comes_from_the_standard_input(
    type_in: TypeIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO("caf\u00e9\n\n".encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    code, out, _ = type_in("generate", "-", "--url", url, "--seed", "5")
    assert code == 0
    assert out == expected_text(url, "caf\u00e9\n", seed=5)


def test_a_standard_input_that_is_no_text_is_refused(
    type_in: TypeIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\xfa")))
    code, _, err = type_in("generate", "-")
    assert (code, err) == (2, "nextword: the standard input is not UTF-8\n")


def test_a_prompt_can_be_token_ids(type_in: TypeIn, url: str) -> None:
    _, out, _ = type_in("generate", "--prompt-ids", "80, 111 110", "--url", url, "--seed", "5")
    assert out == expected_text(url, [80, 111, 110], seed=5)


def test_several_continuations_come_one_after_another(type_in: TypeIn, url: str) -> None:
    words = ("generate", "Once", "--url", url, "--seed", "5", "-n", "3", "--max-tokens", "9")
    code, out, _ = type_in(*words)
    _, as_json, _ = type_in(*words, "--json")
    texts = [choice["text"] for choice in json.loads(as_json)["choices"]]
    assert code == 0
    assert out == f"{texts[0]}\n--- 2 ---\n{texts[1]}\n--- 3 ---\n{texts[2]}"
    assert len(set(texts)) == 3


def test_logprobs_are_a_table_beside_the_text(type_in: TypeIn, url: str) -> None:
    words = ("generate", "Once", "--url", url, "--seed", "5", "--max-tokens", "4")
    code, out, err = type_in(*words, "--logprobs", "2")
    assert (code, out) == (0, type_in(*words)[1])
    head, *rows = err.splitlines()
    assert head.split() == ["token", "id", "probability", "rank", "likeliest"]
    assert len(rows) == 4 + 1
    assert all("%" in row for row in rows[:4])


def test_tokens_shows_ids_characters_and_bytes(type_in: TypeIn, url: str) -> None:
    code, out, _ = type_in("tokens", "a \u20ac", "--url", url)
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["place", "id", "text", "bytes"]
    assert rows[1][2:] == ["'a'", "0..1"]
    assert [row[2:] for row in rows[3:6]] == [
        ["<E2>", "2..3"],
        ["<82>", "3..4"],
        ["<AC>", "4..5"],
    ]
    assert rows[6] == ["5", "tokens", "for", "5", "bytes"]


def test_tokens_turns_ids_back_into_the_text(type_in: TypeIn, url: str) -> None:
    text = "one [red]\u20ac"
    _, out, _ = type_in("tokens", text, "--url", url, "--json")
    ids = [token["id"] for token in json.loads(out)["tokens"]]
    code, out, _ = type_in("tokens", "--ids", " ".join(map(str, ids)), "--url", url)
    assert (code, out) == (0, f"{text}\n")


def test_models_lists_names_versions_and_sizes(type_in: TypeIn, url: str) -> None:
    code, out, _ = type_in("models", "--url", url)
    assert code == 0
    head, row, ngram = out.splitlines()
    assert ngram.split()[0] == "tiny:ngram@1"
    assert head.split() == [
        "model",
        "parameters",
        "context",
        "vocabulary",
        "published",
        "state",
        "computed",
        "by",
        "defaults",
    ]
    assert row.split()[0] == "tiny@1"
    assert "4096" in row.split()
    assert "ready, default" in row
    assert "temperature=0.9 top_k=40" in row


def test_models_prints_the_card_of_one(type_in: TypeIn, url: str) -> None:
    code, out, _ = type_in("models", "tiny@1", "--url", url)
    assert (code, out.splitlines()[0]) == (0, "# tiny")


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["generate"], 2, "PROMPT or --prompt-ids"),
        (["generate", "x", "--prompt-ids", "1"], 2, "PROMPT or --prompt-ids"),
        (["generate", "--prompt-ids", "1 two"], 2, "'two'"),
        (["generate", "x", "--top-k", "many"], 2, "--top-k"),
        (["generate", "x", "--temprature", "1"], 2, "--temprature"),
        (["generate", "x", "--logit-bias", "5"], 2, "ID=X"),
        (["generate", "x", "--timeout", "0"], 2, "--timeout"),
        (["generate", "x", "--top-k", "-7"], 2, "top_k"),
        (["generate", "x", "--top-p", "nan"], 2, "top_p"),
        (["generate", "x", "--logit-bias", "5=inf"], 2, "logit_bias"),
        (["generate", "x", "--timeout", "nan"], 2, "timeout"),
        (["generate", "x", "--model", "nobody"], 2, "model_not_found"),
        (["generate", ""], 2, "prompt"),
        (["tokens", "--ids", "9999999"], 2, "9999999"),
        (["models", "nobody"], 2, "model_not_found"),
        (["bogus"], 2, "bogus"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    type_in: TypeIn,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    line: str,
) -> None:
    monkeypatch.setenv("NEXTWORD_URL", url)
    given, out, err = type_in(*words)
    assert (given, out) == (code, "")
    assert err.startswith("nextword: ")
    assert err.count("\n") == 1
    assert line in err


def test_a_deadline_that_passes_is_one_line_and_an_exit_code(
    type_in: TypeIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTWORD_URL", url)
    words = ("generate", "x", "--timeout", "0.001", "--max-tokens", "4000")
    # What was made until then is printed.
    code, _, err = type_in(*words)
    assert code == 4
    assert err.strip("\n").startswith("nextword: ")
    assert "deadline" in err


@pytest.mark.parametrize(
    "url", ["ftp://x", "localhost:8000", "http://", "grpc://h/path", "http://h:x"]
)
def test_an_address_that_is_none_is_refused(type_in: TypeIn, url: str) -> None:
    code, _, err = type_in("models", "--url", url)
    assert code == 2
    assert repr(url) in err


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_does_not_run_says_how_to_start_one(
    type_in: TypeIn, scheme: str, closed_port: int
) -> None:
    for command in (["generate", "x"], ["tokens", "x"], ["models"], ["bench"]):
        code, _, err = type_in(*command, "--url", f"{scheme}://127.0.0.1:{closed_port}")
        assert code == 3
        assert "nextword-serve" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("is_json", [False, True])
def test_ctrl_c_cancels_on_the_server_and_says_so(url: str, server: Server, is_json: bool) -> None:
    cancelled = 'nextword_requests_total{model="tiny",outcome="cancelled"'
    before = server.metric(cancelled)
    command = [PROGRAM, "generate", "x", "--url", url, "--max-tokens", "4000", "--ignore-eos"]
    with subprocess.Popen(
        [*command, "--temperature", "1", *(["--json"] if is_json else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Tests that run in the background inherit that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        if is_json:
            wait_until(lambda: server.metric("nextword_engine_running") == 1)
        else:
            assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 130
    assert b"cancelled" in err
    assert b"Traceback" not in err
    wait_until(lambda: server.metric(cancelled) == before + 1)
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


def test_a_reader_that_leaves_the_pipe_ends_the_command_quietly(server: Server) -> None:
    command = [PROGRAM, "generate", "x", "--url", server.rest, "--max-tokens", "4000"]
    with subprocess.Popen(
        [*command, "--ignore-eos"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, b"")
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


def test_a_terminal_is_not_steered_by_what_a_model_writes() -> None:
    written = "a\x1b[31mred\x07\r\x9b0m\u202eabc\ttab\nline"
    shown = visible(written)
    assert shown == "a\ufffd[31mred\ufffd\ufffd\ufffd0m\ufffdabc\ttab\nline"


def test_help_of_every_command_names_its_options(type_in: TypeIn) -> None:
    for command in ("generate", "chat", "inspect", "tokens", "models", "health", "bench"):
        code, out, err = type_in(command, "--help")
        assert (code, err) == (0, "")
        assert "--json" in out
        assert "Exit codes" in out
