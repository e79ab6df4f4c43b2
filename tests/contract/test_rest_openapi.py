"""The OpenAPI page: it names every route, its examples are served, its schemas hold."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import jsonschema_rs
import pytest

from service.errors import ErrorKind
from tests.contract.live_server import START_SECONDS, Server

Page: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[dict[str, Any], object], None]


@pytest.fixture(scope="module")
def page(server: Server) -> Page:
    """The page as a client gets it."""
    return server.get("/openapi.json").json()


@pytest.fixture(scope="module")
def check(page: Page) -> Check:
    """Holds a value against a schema of the page."""

    def validate(schema: dict[str, Any], value: object) -> None:
        whole = {**schema, "components": page["components"]}
        jsonschema_rs.Draft202012Validator(whole).validate(value)

    return validate


def operations(page: Page) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def check_answer(check: Check, operation: dict[str, Any], status: int, response: Any) -> None:
    """Hold an answer, whole or of events, against what the page says of its status."""
    content = operation["responses"][str(status)]["content"]
    media_type = response.headers["content-type"].partition(";")[0]
    match media_type:
        case "application/json":
            check(content[media_type]["schema"], response.json())
        case "text/event-stream":
            *events, end, nothing = response.text.split("\n\n")
            assert (end, nothing) == ("data: [DONE]", "")
            assert events
            schema = content[media_type]["schema"]["properties"]["data"]["anyOf"][0][
                "contentSchema"
            ]
            for event in events:
                check(schema, json.loads(event[len("data: ") :]))
        case _:
            assert content[media_type]["schema"] == {"type": "string"}


def test_every_example_is_served_and_answered_as_the_page_says(
    server: Server, page: Page, check: Check
) -> None:
    """Interfaces 28; H136."""
    num_examples = 0
    for path, method, operation in operations(page):
        if method == "get":
            response = server.get(path.replace("{model_id}", "tiny@1"))
            assert response.status_code == 200, path
            check_answer(check, operation, 200, response)
            continue
        content = operation["requestBody"]["content"]["application/json"]
        for name, example in content["examples"].items():
            check(content["schema"], example["value"])
            response = server.post(path, example["value"])
            assert response.status_code == 200, (path, name, response.text)
            check_answer(check, operation, 200, response)
            num_examples += 1
    assert num_examples > 6


def test_the_page_names_exactly_the_routes_that_there_are(server: Server, page: Page) -> None:
    """Interfaces 28: what is on it is there, and what is not there is not on it."""
    offered = {(path, method) for path, method, _ in operations(page)}
    for path in page["paths"]:
        for method in ("get", "post"):
            url = server.rest + path.replace("{model_id}", "tiny")
            there = httpx2.request(method, url, verify=False).status_code
            assert (there not in (404, 405)) is ((path, method) in offered), (path, method)


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/completions", "/v1/tokenize"])
def test_errors_are_as_the_page_says(server: Server, page: Page, check: Check, path: str) -> None:
    """H134, H136: the one error body, and each of these statuses is on the page."""
    operation = page["paths"][path]["post"]
    text = "text" if path == "/v1/tokenize" else "prompt"
    for body, status in (
        ({text: 5}, 400),
        ({}, 400),
        ({text: "x", "model": "nobody"}, 404),
        ({text: "x" * 2**20}, 413),
    ):
        response = server.post(path, body)
        assert response.status_code == status
        check_answer(check, operation, status, response)
    if path != "/v1/tokenize":
        response = server.post(path, {"prompt": "x" * 5000})
        error = response.json()["error"]
        assert (error["code"], error["n_prompt"], error["n_ctx"]) == (
            "context_length_exceeded",
            5000,
            4096,
        )
        check_answer(check, operation, 400, response)


def test_every_error_that_http_can_carry_is_on_the_page(page: Page) -> None:
    told = {
        code
        for _, _, operation in operations(page)
        for answer in operation["responses"].values()
        for code in answer["description"].removeprefix("Codes: ").rstrip(".").split(", ")
    }
    # 499 is for logs: whoever left reads no answer. Limits of one key are not offered yet.
    untold = {ErrorKind.CANCELLED, ErrorKind.RATE_LIMIT_EXCEEDED}
    assert {kind.code for kind in ErrorKind} - told == {kind.code for kind in untold}


def test_a_body_that_breaks_a_schema_is_refused(server: Server, page: Page, check: Check) -> None:
    """The request schemas say no more than the server holds to: each of these breaks one."""
    schemas = {
        path: operation["requestBody"]["content"]["application/json"]["schema"]
        for path, method, operation in operations(page)
        if method == "post"
    }
    broken: list[tuple[str, dict[str, object]]] = [
        (path, {given: "x" if given != "ids" else [1], **change})
        for path, given in (
            ("/v1/generate", "prompt"),
            ("/v1/completions", "prompt"),
            ("/v1/tokenize", "text"),
            ("/v1/detokenize", "ids"),
        )
        for change in (
            ({"model": 5}, {given: 5}, {given: None})
            if given in ("text", "ids")
            else ({"n": 0}, {"stop": 5}, {"temperature": 101}, {"top_p": 0}, {"seed": 1.5})
        )
    ]
    assert len(broken) > 12
    for path, body in broken:
        with pytest.raises(jsonschema_rs.ValidationError):
            check(schemas[path], body)
        assert server.post(path, body).status_code == 400, (path, body)


def test_requests_drawn_from_the_page_are_answered_as_it_says(
    server: Server, tmp_path: Path
) -> None:
    """H136: by schemathesis; what breaks a schema is refused, nothing is a fault of ours.

    `make campaign-openapi` draws more, and every combination of odd values.
    """
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,"
    checks += "response_schema_conformance,unsupported_method,negative_data_rejection"
    command = ["schemathesis", "--config-file", str(Path(__file__).with_name("schemathesis.toml"))]
    command += ["run", server.rest + "/openapi.json", "--phases", "examples,fuzzing"]
    command += [
        "--checks",
        checks,
        "--max-examples",
        "3",
        "--seed",
        "1",
        "--generation-database",
        "none",
    ]
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
        cwd=tmp_path,  # where it leaves what it has found
    )
    assert done.returncode == 0, done.stdout
    (num_cases,) = re.findall(r"(\d+) generated", done.stdout)
    assert int(num_cases) > 20
