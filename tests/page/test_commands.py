"""The page's request as a command: it makes the same request that the page makes."""

import json
import subprocess
import sys
from typing import Any, cast

import httpx2
from google.protobuf import json_format
from nextword.v1 import text_generation_pb2 as messages

from tests.page.browser import Browser
from tests.page.scripted_server import ScriptedServer, ending, event
from tests.page.scripted_tokens import inspection

PROMPT = 'It\'s "quoted" $HOME `ls` \\ and\nnew'


def command(browser: Browser, language: str) -> str:
    """What the dialog shows in a language."""
    if not browser.get("copy-dialog").is_displayed():
        browser.get("copy").click()
    next(each for each in browser.all(".language") if each.text == language).click()
    return cast("str", browser.get("command").get_property("value"))  # type: ignore[misc]


def fill(browser: Browser) -> dict[str, object]:
    """Settings on the page, and the request that they make."""
    browser.fill("prompt", PROMPT)
    browser.fill("temperature", "0.5")
    browser.fill("seed", str(2**64 - 1))
    return {"model": "scripted", "prompt": PROMPT, "temperature": 0.5, "seed": 2**64 - 1}


def test_curl_sends_what_the_page_sends(browser: Browser, scripted: ScriptedServer) -> None:
    scripted.script(event(" so", inspection(b" so")), ending(1))
    browser.open(scripted.address)
    expected = fill(browser)
    line = command(browser, "curl")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("data: [DONE]"), done.stderr
    assert scripted.bodies == [{**expected, "stream": True}]


def test_grpcurl_names_the_same_request(browser: Browser, scripted: ScriptedServer) -> None:
    browser.open(scripted.address)
    expected = fill(browser)
    line = command(browser, "grpcurl")
    # The shell's own words: no grpcurl is needed to see what it would be given.
    split = line.replace("grpcurl", r"printf '%s\0'", 1)
    words = subprocess.run(["bash", "-c", split], capture_output=True, timeout=60).stdout
    given = [word.decode() for word in words.split(b"\0")]
    message = messages.StreamGenerateTextRequest()
    json_format.Parse(given[given.index("-d") + 1], message)
    assert (message.model, message.prompt) == ("scripted", PROMPT)
    assert message.parameters.temperature == expected["temperature"]
    assert message.parameters.seed == expected["seed"]
    assert "nextword.v1.TextGenerationService/StreamGenerateText" in given
    assert "127.0.0.1:50051" in given
    assert "-plaintext" in given
    assert "50051" in browser.texts("#copy-dialog [role=status]")[0]
    # Behind TLS one port is there for both protocols.
    behind_tls = browser.await_script(
        "return (await import('/page/commands.js')).grpcurlCommand(given[0])",
        {"origin": "https://words.example", "host": "words.example", "fields": [], "hasKey": False},
    )
    assert "words.example:443 " in behind_tls
    assert "-plaintext" not in behind_tls


def test_python_writes_the_text_that_the_page_shows(browser: Browser, address: str) -> None:
    browser.open(address)
    values = {"max_tokens": "8", "seed": "5", "temperature": "0.9"}
    for name, value in values.items():
        browser.fill(name, value)
    program = command(browser, "Python")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    body = {"prompt": "Once upon a time", **{name: json.loads(v) for name, v in values.items()}}
    answer: Any = httpx2.post(f"{address}/v1/generate", json=body, timeout=60).json()
    assert done.stdout == answer["choices"][0]["text"], done.stderr


def test_copy_gives_what_is_shown(browser: Browser, scripted: ScriptedServer) -> None:
    browser.open(scripted.address)
    browser.chromium.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    shown = command(browser, "Python")
    browser.all(".copy-now")[0].click()
    browser.wait(lambda: browser.texts("#copy-dialog [role=status]") == ["Copied."])
    assert browser.await_script("return navigator.clipboard.readText()") == shown
    browser.script("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))")
    browser.all(".copy-now")[0].click()
    browser.wait(lambda: "Selected" in browser.texts("#copy-dialog [role=status]")[0])
    assert browser.script("return getSelection().toString()") in {"", shown}
