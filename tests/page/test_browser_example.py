"""The example for browsers: it streams what the client gets, stops, and shows errors."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from nextword import Client, SamplingParameters

from tests.contract.live_server import Server, wait_until
from tests.page.browser import Browser

PAGES = Path(__file__).resolve().parents[2] / "clients" / "javascript" / "pages.mjs"
CANCELLED = 'nextword_requests_total{model="tiny",outcome="cancelled"'


@pytest.fixture(scope="module")
def pages(server: Server) -> Iterator[str]:
    """The example's own small server; its address."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed: node cannot be found")
    command = [node, PAGES, "--port", "0", "--server", server.rest]
    environment = {**os.environ, "NEXTWORD_API_KEY": "a-key-of-nobody"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def open_page(browser: Browser, pages: str, **parameters: object) -> None:
    browser.chromium.get(f"{pages}?{urlencode({'parameters': json.dumps(parameters)})}")
    browser.fill("prompt", "Once")


def test_the_example_streams_the_text_that_the_client_gets(
    browser: Browser, pages: str, server: Server
) -> None:
    open_page(browser, pages, max_tokens=12, seed=5)
    browser.get("go").click()
    browser.wait(lambda: browser.text("remark") == "done")
    with Client(server.rest) as client:
        parameters = SamplingParameters(max_tokens=12, seed=5)
        (choice,) = client.generate("Once", parameters=parameters).choices
    assert browser.script("return document.getElementById('text').textContent") == choice.text


def test_stop_cancels_on_the_server(browser: Browser, pages: str, server: Server) -> None:
    before = server.metric(CANCELLED)
    open_page(browser, pages, max_tokens=4000, ignore_eos=True)
    browser.get("go").click()
    browser.wait(lambda: browser.script("return document.getElementById('text').textContent") != "")
    browser.get("stop").click()
    browser.wait(lambda: browser.text("remark") == "stopped")
    wait_until(lambda: server.metric(CANCELLED) == before + 1)


def test_a_deadline_is_told(browser: Browser, pages: str) -> None:
    query = {"parameters": json.dumps({"max_tokens": 4000, "ignore_eos": True}), "deadline": "0.3"}
    browser.chromium.get(f"{pages}?{urlencode(query)}")
    browser.get("go").click()
    browser.wait(lambda: browser.text("remark").startswith("deadline_exceeded: "))
