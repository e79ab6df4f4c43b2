"""A text of the bundled model on the page, and the API's own answers about it."""

from collections.abc import Mapping
from typing import Any

import httpx2

from tests.page.browser import Browser

PROMPT = "Once upon a time"
SETTINGS = {"max_tokens": 16, "seed": 12, "temperature": 0.7, "top_p": 0.95}
# The token of the continuation that the tests look at.
INDEX = 14


def ask(address: str, path: str, body: Mapping[str, object]) -> Any:
    """What the API answers to a message."""
    answer = httpx2.post(f"{address}{path}", json=dict(body), timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def write(browser: Browser, address: str, settings: Mapping[str, object] = SETTINGS) -> None:
    """Let the page continue the prompt, and wait until the prompt's own tokens are there too."""
    browser.open(address)
    for name, value in settings.items():
        browser.fill(name, str(value))
    browser.generate()
    browser.wait(lambda: len(browser.all("#lead .token")) > 0)


def prompt_ids(address: str) -> list[int]:
    """The ids of the prompt."""
    tokens = ask(address, "/v1/tokenize", {"text": PROMPT})["tokens"]
    return [each["id"] for each in tokens]


def percent(shown: str) -> float:
    """The number of a percentage on the page."""
    return float(shown.removesuffix(" %").removeprefix("< "))
