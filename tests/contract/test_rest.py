"""What only REST has: its own words for fields and errors, events, models, probes."""

import json

import httpx2
import pytest

from tests.contract.live_server import Server


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", "5"),
        ("max_tokens", 5.0),
        ("max_tokens", True),
        ("temperature", "hot"),
        ("temperature", False),
        ("temperature", 10**300),
        ("stream", 1),
        ("stop", 5),
        ("stop", [5]),
        ("prompt", 5),
        ("prompt_ids", "abc"),
        ("prompt_ids", [1.0]),
        ("logit_bias", [1]),
        ("logit_bias", {"word": 1}),
        ("logit_bias", {"1": "big"}),
        ("max_tokens", 2**31),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", 1.5),
        ("top_k", 2**40),
    ],
)
def test_wrong_types_and_ranges_name_the_field(server: Server, field: str, value: object) -> None:
    """H25, H35, H36, H38, H44."""
    response = server.post("/v1/generate", {"prompt": "x", field: value})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "invalid_value")
    assert error["param"] == field
    assert error["message"].startswith(field)


@pytest.mark.parametrize("field", ["max_token", "tools", "guided_regex", "image_url", "best_of"])
def test_unknown_fields_are_refused_by_name(server: Server, field: str) -> None:
    """H33, H34."""
    response = server.post("/v1/generate", {"prompt": "x", field: 1})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        400,
        "unsupported_parameter",
        field,
    )


def test_null_is_the_same_as_absent(server: Server) -> None:
    """H35."""
    body = {"prompt": "x", "max_tokens": None, "stop": None, "seed": 3}
    assert server.post("/v1/generate", body).json()["parameters"]["max_tokens"] == 12


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/generate", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/nothing", 404, "unknown_url"),
        ("GET", "/v1/models/nobody", 404, "model_not_found"),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404, "unknown_url"),
    ],
)
def test_every_refusal_has_the_one_error_body(
    server: Server, method: str, path: str, status: int, code: str
) -> None:
    """H7, H90, H134."""
    response = httpx2.request(method, server.rest + path, verify=False)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"]


def test_a_stream_is_server_sent_events_that_proxies_pass_on(server: Server) -> None:
    """Interfaces 21, 22; H76, H78, H80."""
    body = {"prompt": "x", "stream": True, "max_tokens": 9, "ignore_eos": True}
    with httpx2.stream("POST", server.rest + "/v1/generate", json=body, verify=False) as response:
        text = response.read().decode()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in response.headers
    *events, end, nothing = text.split("\n\n")
    assert (end, nothing) == ("data: [DONE]", "")
    parsed = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [("finish_reason" in event, "usage" in event) for event in parsed[:-1]] == [
        (False, False)
    ] * (len(parsed) - 1)
    assert parsed[-1]["finish_reason"] == "length"
    assert parsed[-1]["usage"]["completion_tokens"] == 9


def test_a_bad_request_for_a_stream_gets_a_real_status(server: Server) -> None:
    """H72."""
    response = server.post("/v1/generate", {"prompt": "x", "stream": True, "top_p": 3})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"


def test_a_clients_request_id_comes_back_when_it_is_harmless(server: Server) -> None:
    """H43."""
    for given, is_kept in (("my-id.1", True), ("x" * 65, False), ("a b", False)):
        response = server.get("/v1/models", headers={"x-request-id": given})
        assert (response.headers["x-request-id"] == given) is is_kept


def test_models_are_listed_in_openais_shape_with_our_facts(server: Server) -> None:
    """Interfaces 12."""
    model, ngram = server.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["version"]) == ("tiny", "model", "1")
    assert (model["kind"], ngram["kind"], ngram["id"]) == ("transformer", "ngram", "tiny:ngram")
    assert model["is_ready"]
    assert model["context_tokens"] == 4096
    assert "seed" not in model["default_parameters"]
    one = server.get("/v1/models/tiny@1").json()
    assert one.pop("card").startswith("# tiny")
    assert one.pop("limits")["max_prompt_tokens"] == 4096
    assert one == model


def test_tokens_of_a_text_come_with_their_bytes_and_give_it_back(server: Server) -> None:
    text = "a\u00e9\U0001f600"
    answer = server.post("/v1/tokenize", {"text": text}).json()
    assert answer["count"] == len(text.encode()) == len(answer["tokens"])
    assert [token["end"] - token["start"] for token in answer["tokens"]] == [1] * answer["count"]
    ids = [token["id"] for token in answer["tokens"]]
    assert server.post("/v1/detokenize", {"ids": ids}).json() == {"text": text}
    assert server.post("/v1/tokenize", {"text": ""}).json() == {"count": 0, "tokens": []}
    # More tokens than are written at a time, and none of them lost between.
    long = server.post("/v1/tokenize", {"text": "x" * 10_000}).json()
    assert long["count"] == 10_000
    assert [token["start"] for token in long["tokens"]] == list(range(10_000))


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/tokenize", {}, "text"),
        ("/v1/tokenize", {"text": 5}, "text"),
        ("/v1/detokenize", {}, "ids"),
        ("/v1/detokenize", {"ids": [257]}, "ids"),
        ("/v1/detokenize", {"ids": [-1]}, "ids"),
        ("/v1/detokenize", {"ids": [2**63]}, "ids"),
        ("/v1/detokenize", {"ids": [1], "model": "nobody"}, "model"),
    ],
)
def test_bad_token_requests_name_the_field(
    server: Server, path: str, body: dict[str, object], field: str
) -> None:
    """H20."""
    response = server.post(path, body)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["param"] == field


def test_probes_say_that_the_server_is_up(server: Server) -> None:
    for path in ("/livez", "/readyz", "/startupz", "/health"):
        response = server.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"}), path


def test_metrics_come_in_the_format_that_is_asked_for(server: Server) -> None:
    """Interfaces 52."""
    assert server.get("/metrics").headers["content-type"].startswith("text/plain")
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    response = server.get("/metrics", headers=accept)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_every_request_is_counted_once_by_its_outcome(server: Server) -> None:
    """Interfaces 55: rejected requests add to no latency figure."""

    def counts() -> tuple[float, ...]:
        name = 'nextword_requests_total{model="tiny",outcome="%s",protocol="rest"'
        name += ',route="/v1/generate"}'
        return (
            server.metric(name % "ok"),
            server.metric(name % "invalid_value"),
            server.metric("gen_ai_server_request_duration_seconds_count"),
        )

    before = counts()
    server.post("/v1/generate", {"prompt": "x", "max_tokens": 1})
    server.post("/v1/generate", {"prompt": "x", "max_tokens": 0})
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == [1, 1, 1]


def test_no_prompt_reaches_the_log(server: Server) -> None:
    """H114."""
    canary = "canary-5821"
    server.post("/v1/generate", {"prompt": canary, "max_tokens": 3})
    server.post("/v1/generate", {"prompt": canary, canary: 3})
    server.post("/v1/generate", {"prompt": "x", "model": canary + "/" + "x" * 99})
    server.get(f"/{canary}")
    assert not any(canary in line for line in server.log)
