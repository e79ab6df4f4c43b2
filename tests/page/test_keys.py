"""The page and a server that asks for a key: asked once, kept in the tab, shown to nobody."""

from collections.abc import Iterator
from typing import cast

import pytest
from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.scripted_server import ScriptedServer, ending, event
from tests.page.scripted_tokens import inspection

KEY = "a-key-with-canary-72930165"


@pytest.fixture(autouse=True)
def no_key_stays(browser: Browser) -> Iterator[None]:
    """The tests share one tab, and a tab keeps its key."""
    yield
    browser.script("sessionStorage.clear()")


def visit(browser: Browser, server: ScriptedServer) -> None:
    """Open the page of a server that asks for the key, and wait until it has asked."""
    server.script(event(" there", inspection(b" there")), ending(1))
    server.key = KEY
    browser.chromium.get(server.address + "/")
    browser.wait(lambda: browser.get("key").is_displayed() and browser.text("error") != "")


def use(browser: Browser, key: str) -> None:
    browser.get("key").send_keys(key, Keys.ENTER)


def expect_refusals(browser: Browser) -> None:
    """What the browser itself says of each refused call, and nothing else."""
    complaints = browser.complaints()
    assert complaints
    assert all("401 (Unauthorized)" in each for each in complaints)


def test_a_reader_is_asked_for_the_key_and_then_goes_on(
    browser: Browser, scripted: ScriptedServer
) -> None:
    visit(browser, scripted)
    assert "API key" in browser.text("key-form")
    assert browser.texts("#error p")[0] == "This server asks for an API key."
    assert not browser.get("links").is_displayed()
    assert browser.script("return document.activeElement.id") == "key"
    use(browser, "a-wrong-key-of-20-chars")
    browser.wait(lambda: browser.get("key").get_attribute("aria-invalid") == "true")
    assert "not known" in browser.text("error")
    num_refused = scripted.num_refused
    use(browser, f" {KEY} ")
    browser.wait(lambda: "version 3" in browser.text("model-facts"))
    assert not browser.get("key").is_displayed()
    assert browser.text("error") == ""
    browser.generate()
    assert browser.texts("#tokens .token") == [" there"]
    assert scripted.num_refused == num_refused
    expect_refusals(browser)


def test_the_key_stays_with_the_tab_and_is_shown_nowhere(
    browser: Browser, scripted: ScriptedServer
) -> None:
    visit(browser, scripted)
    use(browser, KEY)
    browser.wait(lambda: "version 3" in browser.text("model-facts"))
    expect_refusals(browser)
    # A reload keeps it; nothing that outlives the tab, or that other pages can send, has it.
    browser.open(scripted.address)
    assert "in use" in browser.text("key-form")
    assert not browser.get("links").is_displayed()
    assert browser.script("return [localStorage.length, document.cookie]") == [0, ""]
    assert KEY not in browser.script("return document.documentElement.outerHTML + location.href")
    assert browser.get("key").get_property("value") == ""
    browser.get("copy").click()
    for language in browser.all(".language"):
        language.click()
        command = cast("str", browser.get("command").get_property("value"))  # type: ignore[misc]
        assert "NEXTWORD_API_KEY" in command
        assert KEY not in command


def test_a_key_can_be_forgotten(browser: Browser, scripted: ScriptedServer) -> None:
    visit(browser, scripted)
    use(browser, KEY)
    browser.wait(lambda: "version 3" in browser.text("model-facts"))
    browser.script("document.querySelector('[name=forget]').click()")
    browser.wait(lambda: browser.get("key").is_displayed() and browser.text("error") != "")
    assert browser.script("return sessionStorage.length") == 0
    expect_refusals(browser)


def test_a_key_that_is_taken_back_is_asked_for_anew(
    browser: Browser, scripted: ScriptedServer
) -> None:
    visit(browser, scripted)
    use(browser, KEY)
    browser.wait(lambda: "version 3" in browser.text("model-facts"))
    scripted.key = "another-key-of-20-chars"
    browser.generate()
    browser.wait(lambda: browser.get("key").is_displayed())
    assert "not known" in browser.text("error")
    use(browser, "another-key-of-20-chars")
    browser.wait(lambda: browser.text("error") == "")
    browser.generate()
    assert browser.texts("#tokens .token") == [" there"]
    expect_refusals(browser)


def test_what_cannot_be_a_key_is_not_sent(browser: Browser, scripted: ScriptedServer) -> None:
    visit(browser, scripted)
    num_refused = scripted.num_refused
    for text in ("", "two words", "k\u00e9y"):
        browser.fill("key", text)
        browser.get("key").send_keys(Keys.ENTER)
        assert browser.script("return document.getElementById('key').matches(':invalid')")
    assert scripted.num_refused == num_refused
    assert browser.script("return sessionStorage.length") == 0
    expect_refusals(browser)


def test_without_keys_nothing_is_asked(browser: Browser, scripted: ScriptedServer) -> None:
    browser.open(scripted.address)
    assert not browser.get("key-form").is_displayed()
    assert browser.get("links").is_displayed()
