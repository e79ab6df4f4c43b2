"""Pings, metrics and logs of a real server that is asked for everything at once."""

import json
import random
import shutil
import string
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx2
import pytest
from nextword.v1 import text_generation_pb2 as pb

from tests.contract.callers import Caller, Callers, Outcome
from tests.contract.live_server import Server, StartServer

PATIENCE_SECONDS = 40.0
CANARY = "canary-5821"
LONG: dict[str, Any] = {"prompt": "x", "max_tokens": 4000, "ignore_eos": True}


@pytest.fixture(scope="module")
def watched(start_server: StartServer) -> Server:
    """A server that computes one request at a time, pings often and logs everything."""
    flags = ["--max-running", "1", "--max-queued", "8", "--ping-interval", "0.05"]
    return start_server(*flags, "--log-level", "debug", "--management-port", "0")


def series_of(server: Server) -> set[str]:
    """Every time series, without its value."""
    lines = server.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def wait_for(server: Server, name: str, value: float) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while server.metric(name) != value:
        assert time.monotonic() < end, (name, server.metric(name))
        threading.Event().wait(0.02)


def record_of(server: Server, request_id: str) -> dict[str, Any]:
    """The one log record of a request, which is written beside the serving."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (lines := [line for line in server.log if request_id in line]):
        assert time.monotonic() < end
        threading.Event().wait(0.02)
    (line,) = lines
    return json.loads(line)


def test_a_stream_whose_first_token_is_slow_gets_pings(watched: Server) -> None:
    """H77, interfaces 23: it waits in the queue meanwhile; no ping is inside an event."""
    client = httpx2.Client(verify=False, timeout=PATIENCE_SECONDS)
    generate = watched.rest + "/v1/generate"
    with client, client.stream("POST", generate, json=LONG | {"stream": True}) as running:
        # Held on to: a reader that is dropped closes its stream.
        running_lines = running.iter_lines()
        next(running_lines)
        body = {"prompt": "x", "max_tokens": 5, "stream": True}
        with client.stream("POST", generate, json=body) as waiting:
            # The status is out with the first ping.
            assert waiting.status_code == 200
            lines = waiting.iter_lines()
            for _ in range(3):
                assert (next(lines), next(lines)) == (": ping", "")
            running.close()
            rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert all(line == ": ping" or line.startswith("data: {") for line in rest[:-1])


def test_outcomes_add_up_to_what_was_received_whatever_clients_do(
    watched: Server, callers: Callers
) -> None:
    """H116, interfaces 26, 55: good, bad, refused, late and lost requests over both protocols."""
    before = {
        name: watched.metric(name)
        for name in ("nextword_requests_received_total{", "nextword_requests_total{")
    }
    latencies = "gen_ai_server_request_duration_seconds_count{"
    num_latencies = watched.metric(latencies)
    bodies: list[dict[str, Any]] = [
        {"prompt": "x", "max_tokens": 3},
        {"prompt": "x", "top_p": 7},
        {"prompt": "x", "model": "nobody"},
        LONG | {"timeout_seconds": 0.01},
    ]
    jobs = [(call, body) for call in callers.values() for body in bodies] * 3

    def ask(job: tuple[Caller, dict[str, Any]]) -> Outcome:
        call, body = job
        return call(watched, body)

    random.Random(1).shuffle(jobs)
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(ask, jobs))
    assert watched.get("/nothing").status_code == 404
    assert watched.get("/v1/generate").status_code == 405
    num_sent = len(jobs) + 2
    wait_for(watched, "nextword_requests_in_flight{", 0)
    wait_for(watched, "nextword_engine_running{", 0)
    for name, value in before.items():
        assert watched.metric(name) - value == num_sent, name
    num_ok = sum(outcome.code is None for outcome in outcomes)
    assert num_ok > 0
    assert watched.metric(latencies) - num_latencies == num_ok
    assert watched.metric('rpc_server_call_duration_seconds_count{error_type=""') > 0
    assert watched.metric('http_server_request_duration_seconds_count{error_type="404"') == 0
    assert watched.metric('http_server_request_duration_seconds_count{error_type="unknown_url"')


def test_no_client_can_make_a_time_series(watched: Server) -> None:
    """H113: random paths, methods, models, request ids, hosts and agents."""
    rng = random.Random(2)

    def word() -> str:
        return "".join(rng.choices(string.ascii_letters + string.digits + "-_.%", k=12))

    client = httpx2.Client(verify=False, timeout=PATIENCE_SECONDS)
    channel = grpc.insecure_channel(watched.grpc)

    def provoke() -> None:
        headers = {"x-request-id": word(), "host": word(), "user-agent": word()}
        client.request(
            rng.choice(("GET", "PUT", "PATCH", "PURGE", "LOCK")),
            f"{watched.rest}/{rng.choice(('', 'v1/', 'v1/models/'))}{word()}?{word()}={word()}",
            headers=headers,
        )
        body = {"prompt": "x", "model": word(), word(): word()}
        client.post(watched.rest + "/v1/generate", json=body, headers=headers)
        for method in (f"/nextword.v1.TextGenerationService/{word()}", f"/{word()}/{word()}"):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(method.replace("%", ""))(b"", timeout=PATIENCE_SECONDS)
        model = pb.GetModelRequest(id=word()).SerializeToString()
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/nextword.v1.TextGenerationService/GetModel")(
                model, timeout=PATIENCE_SECONDS
            )

    with client, channel:
        for _ in range(25):
            provoke()
        # The first scrape is a request of its own route, which a second one shows.
        series_of(watched)
        known = series_of(watched)
        for _ in range(40):
            provoke()
        assert series_of(watched) == known


def test_a_canary_shows_up_nowhere_but_in_its_answer(watched: Server) -> None:
    """H114: prompts, outputs, field names, headers and metadata, at the most talkative level."""
    bodies: list[dict[str, Any]] = [
        {"prompt": CANARY, "max_tokens": 3, "stop": [CANARY]},
        {"prompt": CANARY, CANARY: 3},
        {"prompt": CANARY, "max_tokens": CANARY},
        {"prompt": CANARY, "model": CANARY + "/" + "x" * 99},
    ]
    headers = {"authorization": "Bearer " + CANARY, "x-" + CANARY: CANARY, "cookie": CANARY}
    for body in bodies:
        for is_streamed in (True, False):
            watched.post("/v1/generate", {**body, "stream": is_streamed}, headers=headers)
            watched.post("/v1/completions", {**body, "stream": is_streamed}, headers=headers)
    watched.post("/v1/tokenize", {"text": CANARY})
    watched.get(f"/{CANARY}?{CANARY}", headers=headers)
    with grpc.insecure_channel(watched.grpc) as channel:
        request = pb.GenerateTextRequest(prompt=CANARY).SerializeToString()
        channel.unary_unary("/nextword.v1.TextGenerationService/GenerateText")(
            request, timeout=PATIENCE_SECONDS, metadata=(("x-note", CANARY),)
        )
    wait_for(watched, "nextword_requests_in_flight{", 0)
    # Records of these requests are there, so a leak would be too.
    assert sum('"request"' in line for line in watched.log) > 10
    assert not [line for line in watched.log if CANARY in line]
    assert CANARY not in watched.get("/metrics").text


def test_each_request_has_one_record_with_its_trace_and_times(watched: Server) -> None:
    """H115, interfaces 60."""
    trace = "a1" * 16
    headers = {"x-request-id": "my-own.id", "traceparent": f"00-{trace}-{'b2' * 8}-01"}
    body = {"prompt": "x", "max_tokens": 4, "ignore_eos": True}
    watched.post("/v1/generate", body, headers=headers)
    record = record_of(watched, "my-own.id")
    assert (record["event"], record["trace_id"]) == ("request", trace)
    assert (record["protocol"], record["route"], record["outcome"]) == (
        "rest",
        "/v1/generate",
        "ok",
    )
    assert (record["prompt_tokens"], record["completion_tokens"]) == (1, 4)
    assert 0 <= record["queue_seconds"] <= record["first_token_seconds"]
    assert record["first_token_seconds"] <= record["total_seconds"]


def test_the_time_in_the_queue_is_told_as_it_is_logged(watched: Server) -> None:
    """H115: a request behind a full batch, in its answer and in its record."""
    headers = {"x-request-id": "had.to.wait"}
    generate = watched.rest + "/v1/generate"
    with ThreadPoolExecutor(1) as pool, httpx2.Client(verify=False, timeout=60) as client:
        with client.stream("POST", generate, json=LONG | {"stream": True}) as running:
            next(lines := running.iter_lines())
            body = {"prompt": "x", "max_tokens": 2}
            waiting = pool.submit(watched.post, "/v1/generate", body, headers=headers)
            wait_for(watched, "nextword_engine_waiting{", 1)
        del lines
        timings = waiting.result(PATIENCE_SECONDS).json()["timings"]
    record = record_of(watched, "had.to.wait")
    assert 0 < timings["queue_seconds"] <= timings["first_token_seconds"]
    assert timings["queue_seconds"] == pytest.approx(record["queue_seconds"], abs=2e-6)


def test_what_is_exposed_passes_promtool_where_there_is_one(watched: Server) -> None:
    """Interfaces 52: all of a server's series; test_metrics has the rules themselves."""
    exposed = watched.get("/metrics").content
    assert b"nextword_model_info{" in exposed
    if (promtool := shutil.which("promtool")) is not None:
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=exposed, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
