"""A headless browser, a server that answers what a test scripted, and a real server."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.page.browser import Browser
from tests.page.bundled_text import PROMPT, SETTINGS, ask, write
from tests.page.scripted_server import ScriptedServer

REPOSITORY = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The first two hold for root and for machines without a GPU; the rest keep the browser from
# calling home, which would cost time and mean nothing here.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--window-size=1280,860",
)


def find_browser() -> tuple[str, str]:
    """The paths of Chromium and of its driver.

    Raises:
        FileNotFoundError: One of them is not installed.
    """
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        raise FileNotFoundError(
            "no Chromium with its driver: apt-get install chromium chromium-driver"
        )
    return program, driver


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests, with a profile of its own; skipped where none is installed."""
    try:
        program, driver = find_browser()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    options = Options()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)  # pyright: ignore[reportUnknownMemberType]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[Browser]:
    """The browser, wide and light again, and nothing amiss on its console at the end."""
    browser = Browser(chromium)
    browser.emulate()
    browser.complaints()
    yield browser
    complaints = browser.complaints()
    chromium.get("about:blank")
    assert not complaints


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Where pictures go: $NEXTWORD_PICTURES, as docs/pictures is made, else nowhere to stay."""
    return Path(os.environ.get("NEXTWORD_PICTURES") or tmp_path)


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[ScriptedServer]:
    """One scripted server for all tests."""
    server = ScriptedServer()
    running = server.run()
    yield server
    running.should_exit = True


@pytest.fixture
def scripted(scripted_server: ScriptedServer) -> ScriptedServer:
    """The scripted server, with nothing to say yet."""
    scripted_server.script()
    return scripted_server


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """A real server of the bundled model."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "service", "--model", REPOSITORY / "artifacts/fairytales/1"),
            *("--rest-port", "0", "--grpc-port", "0", "--threads", "1", "--device", "cpu"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        # Ends with the banner, or with the process.
        found = (re.search(r"REST +(\S+)", line) for line in process.stdout)
        rest = next((match[1] for match in found if match), None)
        assert rest is not None, "the server did not start"
        yield rest
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def answer(address: str) -> dict[str, Any]:
    """What the API says to the request that the fixture ``text`` makes the page send."""
    body = {"prompt": PROMPT, **SETTINGS, "inspect": {"candidates": 10}}
    return ask(address, "/v1/generate", body)


@pytest.fixture
def text(browser: Browser, address: str, answer: dict[str, Any]) -> dict[str, Any]:
    """A text of the bundled model on the page, and the API's answer to the same request."""
    write(browser, address)
    return answer
