"""The page on every screen: it fits, can be read, is reached by keyboard, and heard."""

import shutil
from pathlib import Path
from typing import cast

import pytest
from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.scripted_server import ScriptedServer
from tests.page.test_generating import WORDS, story

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}
# Text against what is behind it, as WCAG's level AA asks.
CONTRASTS = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const rgb = (color) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return Array.from(canvas.getImageData(0, 0, 1, 1).data);
};
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = rgb(getComputedStyle(e).backgroundColor);
    if (color[3] === 255) return color;
  }
  return [255, 255, 255];
};
return given[0].map((selector) => {
  const element = document.querySelector(selector);
  const pair = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
  return [selector, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
});
"""
TEXTS = [
    *("h1", "#lead .ink", "#tokens .ink", ".facts", ".legend", "#start", "#copy", ".figures dt"),
    *(".bar-value", ".is-chosen .bar-name", ".choice-before", ".choice-token", ".hint"),
    *("footer a", ".stage-name", ".stage-kept", ".stage-bits", "[role=tab]", ".field-name"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 860), (360, 760)])
def test_the_page_fits_its_screen_and_can_be_read(
    browser: Browser,
    scripted: ScriptedServer,
    tmp_path: Path,
    width: int,
    height: int,
    scheme: str,
) -> None:
    story(scripted)
    browser.emulate(width=width, height=height, scheme=scheme)
    browser.open(scripted.address)
    browser.get("start").click()
    browser.wait(lambda: not browser.is_running() and len(browser.all("#lead .token")) == 4)
    browser.choose(1)
    browser.wait(lambda: browser.get("inspector").is_displayed())
    assert browser.script("return document.scrollingElement.scrollWidth") <= width
    contrasts = browser.await_script(CONTRASTS, TEXTS)
    assert len(contrasts) == len(TEXTS)
    assert not [(name, ratio) for name, ratio in contrasts if ratio < 4.5]
    browser.picture(tmp_path / f"{width}-{scheme}.png")
    assert (tmp_path / f"{width}-{scheme}.png").stat().st_size > 10_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Browser, address: str, scheme: str) -> None:
    if not AXE.exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed: it carries axe-core")
        pytest.skip("no axe-core: npm could not take it when make install-dev asked")
    browser.emulate(scheme=scheme)
    browser.open(address)
    browser.fill("max_tokens", "12")
    browser.fill("seed", "3")
    browser.generate()
    browser.script("document.getElementById('side-by-side').open = true")
    browser.wait(lambda: len(browser.all(".column")) == 2)
    browser.choose(2)
    browser.evaluate(AXE.read_text("utf-8"))
    ready = {
        "choice": "#choice-body .line",
        "attention": ".heads",
        "neighbours": ".stripes",
        "ngram": ".level",
    }
    for panel, selector in ready.items():
        browser.show_panel(panel)
        browser.wait(lambda selector=selector: bool(browser.all(selector)))
        found = browser.await_script("return (await axe.run()).violations")
        faults = [
            (panel, each["id"], [node["target"] for node in each["nodes"]][:4])
            for each in found
            if each["impact"] in SERIOUS
        ]
        assert not faults
    # The control: what is wrong is found.
    browser.script(
        "document.querySelector('#prompt').removeAttribute('aria-describedby');"
        "document.querySelector('label[for=prompt]').remove()"
    )
    found = browser.await_script("return (await axe.run('#form')).violations")
    assert "label" in {each["id"] for each in found}


def test_tokens_are_reached_by_keyboard(browser: Browser, scripted: ScriptedServer) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    browser.wait(lambda: len(browser.all("#lead .token")) == 4)

    def focused() -> str:
        return cast("str", browser.script("return document.activeElement.textContent"))

    # One of them is a stop of Tab: the first that was made.
    assert browser.texts('.token[tabindex="0"]') == [WORDS[0].decode()]
    browser.script("document.querySelector('.token[tabindex=\"0\"]').focus()")
    steps = ((Keys.ARROW_RIGHT, 1), (Keys.END, 3), (Keys.ARROW_LEFT, 2))
    for key, index in steps:
        browser.chromium.switch_to.active_element.send_keys(key)
        assert focused() == WORDS[index].decode()
        assert browser.texts(".choice-token")[0] == WORDS[index].decode().strip()
        names = browser.texts(".bar .visually-hidden")
        assert len(names) == 10
        assert [name for name in names if "in the text" in name] == names[:1]
        assert names[0].startswith(f"{WORDS[index].decode().strip()}, after a space: 25.0 %")
    browser.chromium.switch_to.active_element.send_keys(Keys.HOME)
    # The prompt is part of the text.
    assert focused() == "Once"
    selected = [token.get_attribute("aria-selected") for token in browser.all(".token")]
    assert selected == ["true", *["false"] * 7]
    assert len(browser.all('.token[tabindex="0"]')) == 1


def test_tabs_are_moved_by_arrow_keys(browser: Browser, scripted: ScriptedServer) -> None:
    browser.open(scripted.address)
    browser.get("tab-choice").send_keys(Keys.ARROW_LEFT)
    assert browser.script("return document.activeElement.id") == "tab-ngram"
    assert browser.get("tab-ngram").get_attribute("aria-selected") == "true"
    browser.get("tab-ngram").send_keys(Keys.HOME)
    shown = [each.get_attribute("hidden") is None for each in browser.all("[role=tabpanel]")]
    assert shown == [True, False, False, False]


def test_every_control_has_a_name(browser: Browser, scripted: ScriptedServer) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    tree = browser.chromium.execute_cdp_cmd("Accessibility.getFullAXTree", {})
    wanted = {"button", "textbox", "slider", "combobox", "listbox", "option", "link", "log", "tab"}
    nodes = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree["nodes"]
        if not node["ignored"] and node["role"]["value"] in wanted
    ]
    assert len(nodes) > 40
    assert not [node for node in nodes if not node[1]]
