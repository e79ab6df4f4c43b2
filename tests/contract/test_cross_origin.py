"""--cors-origin: pages of origins that are named read everything, those of others nothing."""

import json
from pathlib import Path

import httpx2
import pytest

from campaigns.live.server_process import HTTP
from service.origins import check_origins
from service.setting_spec import SettingsError
from service.settings_sources import load_settings
from tests.contract.live_server import Server, StartServer

KEY = "a-key-0123456789_abcdef"
APP = "https://app.example"
OTHER = "https://other.example"
ALLOWED = "access-control-allow-origin"
EXPOSED = {"x-request-id", "retry-after", "x-ignored-parameters", "x-should-retry"}
PATHS = ("/v1/generate", "/v1/completions", "/v1/chat/completions", "/v1/models", "/v1/inspect")


@pytest.fixture(scope="module")
def shared(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server that asks for keys, and names two origins."""
    keys = tmp_path_factory.mktemp("secrets") / "keys"
    keys.write_text(KEY, encoding="utf-8")
    origins = ("--cors-origin", APP, "--cors-origin", "http://localhost:3000")
    return start_server("--api-key-file", str(keys), *origins)


def preflight(server: Server, path: str, origin: str) -> httpx2.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    }
    return HTTP.request("OPTIONS", server.rest + path, headers=headers)


def listed(value: str) -> set[str]:
    return {part.strip() for part in value.split(",")}


@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_is_answered_without_a_key(shared: Server, path: str) -> None:
    """Interfaces 27."""
    answer = preflight(shared, path, APP)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers[ALLOWED] == APP
    assert listed(answer.headers["access-control-allow-methods"]) >= {"GET", "POST"}
    headers = listed(answer.headers["access-control-allow-headers"])
    assert headers >= {"authorization", "content-type", "x-request-id", "*"}
    assert answer.headers["x-request-id"]
    assert "access-control-allow-credentials" not in answer.headers


def test_streams_answers_and_errors_can_be_read(shared: Server) -> None:
    """The key is still asked for, and an error may be read too; headers of ours as well."""
    body = {"prompt": "Once", "max_tokens": 3, "seed": 4}
    named = {"origin": APP, "authorization": f"Bearer {KEY}"}
    whole = shared.post("/v1/generate", body, headers=named)
    stream = shared.post("/v1/generate", {**body, "stream": True}, headers=named)
    refused = shared.post("/v1/generate", body, headers={"origin": APP})
    bad = shared.post("/v1/generate", {**body, "max_tokens": -1}, headers=named)
    absent = shared.get("/v1/absent", headers=named)
    answers = (whole, stream, refused, bad, absent)
    assert [answer.status_code for answer in answers] == [200, 200, 401, 400, 404]
    for answer in answers:
        assert answer.headers[ALLOWED] == APP
        assert listed(answer.headers["access-control-expose-headers"]) == EXPOSED
        assert listed(answer.headers["vary"]) == {"Origin"}
        assert "access-control-allow-credentials" not in answer.headers
    lines = stream.text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert "".join(event["text"] for event in events) == whole.json()["choices"][0]["text"]


def test_other_origins_get_what_they_get_without_the_setting(shared: Server) -> None:
    """No header for them, whose browsers then keep the answer from the page."""
    for origin in (OTHER, APP.upper(), f"{APP}:8443", f"{APP}.evil.example", "null"):
        assert preflight(shared, "/v1/generate", origin).status_code == 401
        answer = shared.get("/v1/models", headers={"origin": origin})
        assert answer.status_code == 401
        assert ALLOWED not in answer.headers
        assert listed(answer.headers["vary"]) == {"Origin"}


def test_an_options_request_that_is_no_preflight_finds_no_route(shared: Server) -> None:
    headers = {"origin": APP, "authorization": f"Bearer {KEY}"}
    answer = HTTP.request("OPTIONS", f"{shared.rest}/v1/models", headers=headers)
    assert answer.status_code == 405
    assert answer.headers[ALLOWED] == APP


def test_it_is_off_unless_it_is_said(server: Server) -> None:
    assert preflight(server, "/v1/models", APP).status_code == 405
    answer = server.get("/v1/models", headers={"origin": APP})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "vary" not in answer.headers


def test_every_origin_is_allowed_by_a_star_alone(start_server: StartServer) -> None:
    """Then the answer is the same for all of them."""
    server = start_server("--cors-origin", "*")
    for origin in (APP, "null"):
        assert preflight(server, "/v1/generate", origin).headers[ALLOWED] == "*"
        answer = server.get("/v1/models", headers={"origin": origin})
        assert answer.status_code == 200
        assert answer.headers[ALLOWED] == "*"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["https://app.example/", "app.example", "https://", "https://App.example", "https://a b"],
)
def test_what_no_browser_would_say_is_refused(origin: str) -> None:
    """H18: the value is named, wherever it was given."""
    with pytest.raises(SettingsError, match="--cors-origin must be SCHEME") as refused:
        load_settings([], {"NEXTWORD_CORS_ORIGIN": f"{APP},{origin}"})
    assert ascii(origin) in str(refused.value)
    check_origins([APP, "http://[::1]:3000", "chrome-extension://abcdef"])


def test_a_usual_port_and_a_star_beside_others_are_refused(artifact: Path) -> None:
    model = ("--model", str(artifact))
    with pytest.raises(SettingsError, match=r"leave out the port 443 of https, .*example:443"):
        load_settings([*model, "--cors-origin", f"{APP}:443"], {})
    with pytest.raises(SettingsError, match=r"must stand alone, got .*app\.example"):
        load_settings([*model, "--cors-origin", "*", "--cors-origin", APP], {})
