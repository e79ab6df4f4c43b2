"""A real server that asks for keys: closed by default over both protocols, open to a right key."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import openai
import pytest
from fastapi.routing import APIRoute
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from nextword.v1 import glass_box_pb2
from nextword.v1 import text_generation_pb2 as pb

from service.glass_box.glass_box import GlassBox
from service.grpc_api.key_guard import OPEN_METHODS
from service.health import Health
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.page.routes import page_paths
from service.request_log import RequestLog
from service.rest_api.management import PROBE_PATHS
from service.rest_api.openapi import openapi_page
from service.rest_api.server import create_routers
from service.text_generator import TextGenerator
from tests.contract.callers import grpc_error
from tests.contract.live_server import (
    PATIENCE_SECONDS,
    Server,
    StartServer,
    health_stub,
    wait_until,
)

ALICE = "alices-key.0123456789_abcdef"
BOB = "bobs-key-with-canary-72930165"
SERVICE = "nextword.v1.TextGenerationService"
METHODS = [
    f"{service.full_name}/{method.name}"
    for file in (pb, glass_box_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
REFLECTION = "grpc.reflection.v1{}.ServerReflection/ServerReflectionInfo"
BODY = {"prompt": "Once", "max_tokens": 3, "seed": 4}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secrets") / "keys"
    path.write_text(f"# who may ask\n{ALICE} alice\n{BOB}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def keyed(start_server: StartServer, key_file: Path) -> Server:
    """A server that serves those two."""
    return start_server("--api-key-file", str(key_file), "--log-level", "debug")


def showing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def routes() -> Iterator[APIRoute]:
    """Every route that is registered."""
    metrics = Metrics()
    for router in create_routers(
        cast("TextGenerator", None),
        ServedModels(),
        health=Health(),
        log=RequestLog(metrics),
        metrics=metrics,
        needs_key=True,
        glass_box=GlassBox(cast("TextGenerator", None), ServedModels()),
    ):
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def status_of(server: Server, *lines: str) -> int:
    """The status of a request whose head is written out; nothing follows it."""
    host, _, port = server.rest.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode("latin-1"))
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def call_of_garbage(server: Server, method: str, *keys: str) -> tuple[str | None, str | int | None]:
    """Code and status of a call that sends no message of its type, and never says that it ends."""
    is_over = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"\xff"
        is_over.wait(PATIENCE_SECONDS)

    metadata = tuple(("authorization", f"Bearer {key}") for key in keys)
    with grpc.insecure_channel(server.grpc) as channel:
        open_call = cast("Any", channel.stream_stream(f"/{method}"))
        try:
            list(open_call(requests(), timeout=PATIENCE_SECONDS, metadata=metadata))
        except grpc.RpcError as error:
            outcome = grpc_error(error)
            return outcome.code, outcome.status
        finally:
            is_over.set()
    return None, "OK"


def record_of(server: Server, request_id: str) -> dict[str, Any]:
    """The one log record of a request, which is written beside the serving."""
    wait_until(lambda: any(request_id in line for line in server.log))
    (line,) = [line for line in server.log if request_id in line]
    return json.loads(line)


def test_every_route_asks_for_a_key_but_probes_and_the_pages_files(keyed: Server) -> None:
    """H10: all that are registered, with every method."""
    seen: set[str] = set()
    for route in routes():
        paths = [route.path]
        if route.path == "/page/{name}":
            paths = ["/page/nothing.js", *(path for path in page_paths() if path != "/")]
        for path in paths:
            seen.add(path)
            is_open = path in page_paths() | PROBE_PATHS
            for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE", "TRACE"):
                status = status_of(keyed, f"{method} {path} HTTP/1.1", "Host: x")
                assert (status != 401) is is_open, (method, path, status)
                if is_open and method == "GET":
                    assert status == 200, path
    assert {"/v1/generate", "/metrics", "/openapi.json", "/", "/livez"} <= seen
    assert len(seen) > 20


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        ("GET //v1/models HTTP/1.1", {401}),
        ("GET /V1/models HTTP/1.1", {401}),
        ("GET /%76%31/models HTTP/1.1", {401}),
        ("GET /v1%2fmodels HTTP/1.1", {401}),
        ("GET /v1/models/ HTTP/1.1", {401}),
        ("GET /livez/ HTTP/1.1", {401}),
        ("GET //livez HTTP/1.1", {401}),
        ("GET /livez/../v1/models HTTP/1.1", {401}),
        ("GET /page/../v1/models HTTP/1.1", {401}),
        ("GET /page/%2e%2e/v1/models HTTP/1.1", {401}),
        ("GET /page/app.js/../../metrics HTTP/1.1", {401}),
        ("GET /v1/models?x=/livez HTTP/1.1", {401}),
        ("GET /v1/models#/livez HTTP/1.1", {400, 401}),
        ("GET /v1/models;/livez HTTP/1.1", {401}),
        ("GET /v1/models%00/livez HTTP/1.1", {401}),
        ("GET http://x/v1/models HTTP/1.1", {401}),
        ("GET http://x/livez/../metrics HTTP/1.1", {401}),
        ("OPTIONS * HTTP/1.1", {400, 401}),
        ("CONNECT x:80 HTTP/1.1", {400, 401}),
        # The same page under another spelling of its path, as routes read it.
        ("GET /%6civez HTTP/1.1", {200}),
        ("GET http://x/livez HTTP/1.1", {200}),
    ],
)
def test_no_other_spelling_opens_a_path(keyed: Server, line: str, statuses: set[int]) -> None:
    """H11."""
    assert status_of(keyed, line, "Host: x") in statuses


@pytest.mark.parametrize("host", ["a/livez?x", "a?x", "a#x", "/livez", "a/livez", "livez"])
def test_no_host_opens_a_path(keyed: Server, host: str) -> None:
    """H9: one that names a host is none of the key's business; the others are refused."""
    expected = 401 if host == "livez" else 400
    assert status_of(keyed, "GET /v1/models HTTP/1.1", f"Host: {host}") == expected
    forwarded = ("X-Original-URL: /livez", "X-Forwarded-Prefix: /livez", "X-Rewrite-URL: /livez")
    assert status_of(keyed, "GET /v1/models HTTP/1.1", "Host: x", *forwarded) == 401


def test_a_websocket_is_no_way_in(keyed: Server) -> None:
    """H11."""
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    for path in ("/v1/generate", "/metrics"):
        status = status_of(keyed, f"GET {path} HTTP/1.1", "Host: x", *upgrade)
        assert status == 401


def test_a_refusal_comes_before_the_body(keyed: Server) -> None:
    head = ("POST /v1/generate HTTP/1.1", "Host: x", "Content-Type: application/json")
    assert status_of(keyed, *head, "Content-Length: 1000000") == 401
    assert status_of(keyed, *head, "Transfer-Encoding: chunked") == 401
    # It never asks for the body either.
    assert status_of(keyed, *head, "Content-Length: 1000000", "Expect: 100-continue") == 401


def test_every_method_asks_for_a_key_but_health(keyed: Server) -> None:
    """H10, H16: known, reflection's, unknown; before any message is understood."""
    refused = ("invalid_api_key", "UNAUTHENTICATED")
    closed = [*METHODS, *(REFLECTION.format(version) for version in ("", "alpha"))]
    closed += [
        f"{SERVICE}/Nothing",
        "grpc.health.v1.Health/Nothing",
        "/grpc.health.v1.Health/Check",
    ]
    assert len(METHODS) == 12
    for method in closed:
        assert call_of_garbage(keyed, method) == refused, method
        assert call_of_garbage(keyed, method, ALICE[:-1]) == refused, method
    assert call_of_garbage(keyed, closed[0], ALICE, BOB) == refused
    # With the key the message is looked at.
    with_key = call_of_garbage(keyed, f"{SERVICE}/StreamGenerateText", ALICE)
    assert with_key == ("invalid_value", "INVALID_ARGUMENT")
    assert call_of_garbage(keyed, f"{SERVICE}/Nothing", ALICE)[0] == "unknown_url"
    with grpc.insecure_channel(keyed.grpc) as channel:
        stub = health_stub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == 1
        assert next(iter(stub.Watch(health_pb2.HealthCheckRequest()))).status == 1
    assert {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"} <= OPEN_METHODS


@pytest.mark.parametrize("version", ["", "alpha"])
def test_reflection_answers_whoever_has_a_key(keyed: Server, version: str) -> None:
    """H16."""
    with grpc.insecure_channel(keyed.grpc) as channel:
        call = channel.stream_stream(
            f"/{REFLECTION.format(version)}",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {ALICE}"),)
        requests = iter([ServerReflectionRequest(list_services="")])
        (answer,) = cast("Any", call(requests, metadata=metadata, timeout=PATIENCE_SECONDS))
    assert SERVICE in {service.name for service in answer.list_services_response.service}


def test_a_key_opens_rest_and_its_refusal_is_one_of_the_table(keyed: Server) -> None:
    """Interfaces 16: as curl sends it."""
    for path in ("/v1/models", "/metrics", "/openapi.json"):
        assert keyed.get(path, headers=showing(ALICE)).status_code == 200
    assert keyed.get("/nothing", headers=showing(ALICE)).status_code == 404
    assert keyed.post("/v1/generate", BODY, headers=showing(BOB)).status_code == 200
    for headers in ({}, showing("x" * 20), showing(ALICE.upper())):
        response = keyed.post("/v1/generate", BODY, headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-request-id"]
        error = response.json()["error"]
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert "x" * 20 not in response.text


def test_openais_client_shows_its_key(keyed: Server) -> None:
    """H134: and knows what a refusal is."""
    for key, is_known in ((ALICE, True), ("sk-unknown", False)):
        with openai.OpenAI(base_url=keyed.rest + "/v1", api_key=key, max_retries=0) as client:
            if is_known:
                assert client.completions.create(model="tiny", prompt="x", max_tokens=2).choices
                continue
            with pytest.raises(openai.AuthenticationError) as refused:
                client.completions.create(model="tiny", prompt="x", max_tokens=2)
            assert refused.value.code == "invalid_api_key"


def test_the_openapi_page_says_what_needs_a_key(keyed: Server) -> None:
    """Interfaces 28: each server of itself."""
    page = keyed.get("/openapi.json", headers=showing(ALICE)).json()
    (scheme,) = page["components"]["securitySchemes"]
    assert page["components"]["securitySchemes"][scheme] == {"type": "http", "scheme": "bearer"}
    assert page["security"] == [{scheme: []}]
    for path, methods in page["paths"].items():
        for operation in methods.values():
            assert (operation.get("security") == []) is (path in PROBE_PATHS), path
            assert ("401" in operation["responses"]) is (path not in PROBE_PATHS), path
    without = cast("dict[str, Any]", openapi_page())
    assert "security" not in without
    assert list(without["components"]) == ["schemas"]
