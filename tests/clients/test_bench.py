"""`nextword bench`: what it counts is what was sent, and it notices a server that cheats."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import nextword.bench
import pytest

from tests.clients.conftest import Serve, TypeIn
from tests.clients.waiting import wait_until
from tests.contract.live_server import START_SECONDS, Server

SCHEMA = json.loads(Path(nextword.bench.__file__).with_name("report.schema.json").read_bytes())


def measure(type_in: TypeIn, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of a load test; the report is as its schema says."""
    code, out, _ = type_in("bench", "--json", *words)
    report = json.loads(out)
    jsonschema_rs.validate(SCHEMA, report)
    return code, report


def test_both_protocols_are_measured_by_their_token_ids(type_in: TypeIn, server: Server) -> None:
    before = server.metric('nextword_requests_total{model="tiny",outcome="ok"')
    urls = ["--url", server.rest, "--url", f"grpc://{server.grpc}"]
    size = ["--prompt-tokens", "5", "--max-tokens", "7", "--requests", "6", "--warmup", "1"]
    code, report = measure(type_in, *urls, *size, "--concurrency", "1,3")
    assert code == 0
    assert server.metric('nextword_requests_total{model="tiny",outcome="ok"') == before + 4 * 7
    levels = report["levels"]
    assert [(level["protocol"], level["concurrency"]) for level in levels] == [
        ("rest", 1),
        ("rest", 3),
        ("grpc", 1),
        ("grpc", 3),
    ]
    for level in levels:
        assert level["is_complete"]
        assert (level["num_requests"], level["num_ok"], level["errors"]) == (6, 6, [])
        assert (level["num_output_tokens"], level["num_prompt_tokens"]) == (6 * 7, 6 * 5)
        assert level["output_tokens_per_second"] == pytest.approx(42 / level["seconds"])
        assert level["requests_per_second"] == pytest.approx(6 / level["seconds"])
        first, whole = level["first_token_seconds"], level["request_seconds"]
        assert (first["count"], whole["count"]) == (6, 6)
        assert 0 < first["p50"] <= first["p90"] <= first["p99"] <= first["max"] <= whole["max"]
        # Ids that came with the first ones have no wait of their own.
        assert 0 < level["between_tokens_seconds"]["count"] <= 6 * 6
        assert level["client_cpu_seconds"] > 0


def test_any_openai_server_is_measured_by_its_usage(type_in: TypeIn, server: Server) -> None:
    size = ["--max-tokens", "6", "--requests", "3", "--concurrency", "2"]
    code, report = measure(type_in, "--url", server.rest, "--api", "openai", *size)
    assert code == 0
    assert report["plan"]["tokens_counted_by"] == "usage"
    (level,) = report["levels"]
    assert (level["num_ok"], level["num_output_tokens"]) == (3, 18)
    assert level["num_prompt_tokens"] == 3 * 32
    ids = [*size, "--vocabulary-size", "200", "--prompt-tokens", "9"]
    _, report = measure(type_in, "--url", f"{server.rest}/v1/", "--api", "openai", *ids)
    assert report["levels"][0]["num_prompt_tokens"] == 3 * 9


def test_a_length_in_seconds_counts_what_came_within_them(type_in: TypeIn, url: str) -> None:
    size = ["--max-tokens", "4", "--seconds", "0.3", "--concurrency", "2"]
    code, report = measure(type_in, "--url", url, *size)
    assert code == 0
    (level,) = report["levels"]
    assert level["seconds"] == pytest.approx(0.3)
    assert level["output_tokens_per_second"] * 0.3 <= level["num_output_tokens"] + 1e-6
    assert level["num_output_tokens"] == 4 * level["num_ok"]


def test_requests_that_were_refused_are_counted_by_their_code(
    type_in: TypeIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four run, eight wait: of forty clients some are turned away, and come again later."""
    monkeypatch.setattr("nextword.bench.measurement.MAX_REFUSED_SECONDS", 0.05)
    size = ["--max-tokens", "200", "--requests", "40", "--concurrency", "40", "--warmup", "0"]
    code, report = measure(type_in, "--url", url, *size)
    assert code == 1
    (level,) = report["levels"]
    (error,) = level["errors"]
    assert error["code"] == "server_overloaded"
    assert error["count"] + level["num_ok"] == level["num_requests"] == 40
    assert level["num_ok"] >= 12
    assert level["num_output_tokens"] == 200 * level["num_ok"]


def test_the_table_shows_every_level_and_failure(type_in: TypeIn, url: str) -> None:
    words = ["--url", url, "--max-tokens", "3", "--requests", "2", "--concurrency", "1,2"]
    code, out, err = type_in("bench", *words)
    assert code == 0
    head = out.splitlines()[1].split()
    assert head == [url, "1", "client", "2", "clients"]
    assert "exactly 3 tokens out" in err
    code, out, _ = type_in("bench", *words[:-1], "1", "--timeout", "0.1", "--max-tokens", "4000")
    assert code == 1
    assert "1 client: 2 x deadline_exceeded: " in out


def stream_of(*events: object) -> list[bytes]:
    lines = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    body = b"".join([*lines, b"data: [DONE]\n\n"])
    return [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    ]


def chunk(text: str, reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": reason}], "usage": None}


def usage(num_tokens: int) -> dict[str, object]:
    counts = {"prompt_tokens": 2, "completion_tokens": num_tokens, "total_tokens": num_tokens + 2}
    return {"choices": [], "usage": counts}


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([chunk("a b"), chunk("c", "length"), usage(4)], None),
        ([chunk("a b"), chunk("c", "length"), usage(3)], "wrong_token_count"),
        ([chunk("a b"), chunk("c", "stop"), usage(4)], "wrong_finish_reason"),
        ([chunk("a b"), chunk("c", "length")], "no_usage"),
        ([chunk(""), chunk("", "length"), usage(4)], None),
        ([chunk("", "length"), usage(4)], None),
        ([chunk("", "length"), usage(0)], "wrong_token_count"),
        ([usage(4)], "wrong_finish_reason"),
        ([chunk("a"), {"error": {"message": "no", "code": 500}}], "http_500"),
        ([chunk("a"), 7], "protocol_error"),
    ],
)
def test_a_server_that_brings_other_than_asked_has_failed(
    type_in: TypeIn, serve: Serve, events: list[object], code: str | None
) -> None:
    models = b'{"data": [{"id": "rival"}]}'
    listing = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(models)
    url = serve([listing + models], stream_of(*events))
    size = ["--max-tokens", "4", "--requests", "2", "--concurrency", "1", "--warmup", "0"]
    exit_code, report = measure(type_in, "--url", url, "--api", "openai", *size)
    (level,) = report["levels"]
    assert [(error["code"], error["count"]) for error in level["errors"]] == (
        [] if code is None else [(code, 2)]
    )
    assert exit_code == (0 if code is None else 1)
    assert report["servers"][0]["model"] == "rival"


@pytest.mark.parametrize(("whole", "code"), [(True, None), (False, "connection_failed")])
def test_half_a_stream_is_a_failure(
    type_in: TypeIn, serve: Serve, whole: bool, code: str | None
) -> None:
    models = b'{"data": [{"id": "rival"}]}'
    listing = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(models)
    (answer,) = stream_of(chunk("a b"), chunk("c", "length"), usage(4))
    url = serve([listing + models], [answer if whole else answer[:-30]])
    size = ["--max-tokens", "4", "--requests", "1", "--concurrency", "1", "--warmup", "0"]
    exit_code, report = measure(type_in, "--url", url, "--api", "openai", *size)
    (level,) = report["levels"]
    assert [error["code"] for error in level["errors"]] == ([] if code is None else [code])
    assert exit_code == (0 if code is None else 1)


def test_streams_that_would_take_too_much_memory_are_read_as_they_end(
    type_in: TypeIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextword.bench.measurement.MAX_KEPT_BYTES", 100)
    size = ["--max-tokens", "9", "--requests", "4", "--concurrency", "2"]
    code, report = measure(type_in, "--url", url, *size)
    assert code == 0
    (level,) = report["levels"]
    assert (level["num_ok"], level["num_output_tokens"]) == (4, 36)
    assert level["first_token_seconds"]["count"] == 4


def test_ctrl_c_reports_what_was_measured_and_cancels_the_rest(
    server: Server, tmp_path: Path
) -> None:
    output = tmp_path / "report.json"
    program = Path(sys.executable).with_name("nextword")
    words = ["--url", f"grpc://{server.grpc}", "--seconds", "600", "--max-tokens", "20"]
    process = subprocess.Popen(
        [program, "bench", *words, "--concurrency", "2,3", "--output", output],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ok = 'nextword_requests_total{model="tiny",outcome="ok"'
    before = server.metric(ok)
    wait_until(lambda: server.metric(ok) >= before + 8)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert "2 clients: stopped after" in out
    report = json.loads(output.read_bytes())
    jsonschema_rs.validate(SCHEMA, report)
    (level,) = report["levels"]
    assert not level["is_complete"]
    assert level["num_ok"] >= 4
    assert level["errors"] == []
    wait_until(lambda: server.metric("nextword_engine_running") == 0)
