"""The page's files over HTTP: policy, caching, nothing from elsewhere, all of it in the wheel."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from hatchling.builders.wheel import WheelBuilder
from starlette.testclient import TestClient

from service.page.routes import page_router, read_page_files

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = read_page_files()
PATHS = ["/", *(f"/page/{name}" for name in FILES)]
SCRIPTS = {name: file.content.decode() for name, file in FILES.items() if name.endswith(".js")}
# Ways from a string to markup or code.
SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|document\.write|DOMParser"
    r"|setHTML|srcdoc|\beval\b|new Function|javascript:|\.on\w+ = ['\"`]"
)


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(page_router())
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_every_file_carries_the_policy_and_a_type(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    directives = dict(each.split(" ", 1) for each in policy.split("; "))
    assert directives.pop("default-src") == "'none'"
    assert {directives[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}
    assert not [value for value in directives.values() if "unsafe" in value or ":" in value]
    assert answer.headers["x-content-type-options"] == "nosniff"
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    expected = kinds.get(path.rpartition(".")[2], "text/html")
    assert answer.headers["content-type"].partition(";")[0] == expected


@pytest.mark.parametrize("path", PATHS)
def test_a_file_is_sent_again_only_when_it_changed(client: TestClient, path: str) -> None:
    first = client.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert "content-security-policy" in again.headers
    assert client.get(path, headers={"if-none-match": '"other"'}).content == first.content
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == first.headers["content-length"]


@pytest.mark.parametrize(
    "name", ["routes.py", "../routes.py", "..%2froutes.py", "%2e%2e/routes.py", "", "INDEX.HTML"]
)
def test_nothing_but_the_files_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_the_page_asks_for_nothing_that_is_not_there(client: TestClient) -> None:
    asked = set(re.findall(r'(?:src|href)="(/page/[^"]+)"', FILES["index.html"].content.decode()))
    for source in SCRIPTS.values():
        asked |= {f"/page/{name}" for name in re.findall(r'from "\./([^"]+)"', source)}
    assert asked | {"/page/index.html"} == {f"/page/{name}" for name in FILES}


def test_the_page_names_no_other_host() -> None:
    texts = {name: file.content.decode() for name, file in FILES.items()}
    hosts = {name: re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text) for name, text in texts.items()}
    assert {host for found in hosts.values() for host in found} <= {"http://www.w3.org"}


def test_no_script_turns_a_string_into_markup_or_code() -> None:
    assert not {name: found for name, text in SCRIPTS.items() if (found := SINKS.findall(text))}
    index = FILES["index.html"].content.decode()
    assert not re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", index)


def test_scripts_are_short_enough_to_read() -> None:
    assert len(SCRIPTS) > 5
    assert not {name: n for name, text in SCRIPTS.items() if (n := text.count("\n")) > 250}


def test_the_wheel_has_every_file_of_the_page() -> None:
    included = WheelBuilder(str(REPOSITORY)).recurse_included_files()
    paths = {file.distribution_path for file in included}
    assert {f"service/page/static/{name}" for name in FILES} <= paths
