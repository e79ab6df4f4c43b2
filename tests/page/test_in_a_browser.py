"""What a reader does with the page, with a real model behind it or a scripted one."""

import json
import math
import re
import subprocess
from pathlib import Path
from typing import cast

import httpx2
import pytest
from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.scripted_server import ScriptedServer, ending, event, report

WORDS = (b" there", b" was", b" a", b" king")


def story(server: ScriptedServer) -> None:
    """Script four words, each with ten rivals."""
    rivals = [f" word{number}".encode() for number in range(9)]
    events = [event(word.decode(), report(word, rivals)) for word in WORDS]
    server.script(*events, ending(len(WORDS)))


def metric(address: str, name: str, label: str = "") -> float:
    """The sum of a metric's series, of those with a label if one is given."""
    lines = httpx2.get(f"{address}/metrics", timeout=60).text.splitlines()
    series = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
    assert series, f"no metric {name}"
    return sum(float(line.rpartition(" ")[2]) for line in series if label in line)


def test_one_key_press_streams_a_real_models_words(
    browser: Browser, address: str, picture_folder: Path
) -> None:
    browser.open(address)
    assert "fairytales" in browser.text("model")
    facts = browser.text("model-facts")
    assert re.search(r"version 1 .* million parameters .* tokens of context", facts)
    chosen = {"max_tokens": 40, "seed": 12, "temperature": 0.7}
    for name, value in chosen.items():
        browser.fill(name, str(value))
    browser.generate()
    tokens = browser.texts("#tokens .token")
    body = {"prompt": "Once upon a time", **chosen, "logprobs": 10}
    answer = httpx2.post(f"{address}/v1/generate", json=body, timeout=60).json()
    (choice,) = answer["choices"]
    assert "".join(tokens) == choice["text"]
    assert len(tokens) == len(choice["token_ids"]) == 40
    figures = browser.figures()
    assert figures["State"] == "Reached max tokens"
    assert figures["Tokens"] == f"40 (prompt {answer['usage']['prompt_tokens']})"
    assert figures["Seed"].startswith("12")
    assert figures["Speed"].endswith("tokens/s")
    assert figures["Model"] == "fairytales@1"
    # The bars are the API's numbers.
    browser.all("#tokens .token")[14].click()
    top = choice["logprobs"][14]["top"]
    values = browser.texts(".bar:not(.is-rest) .bar-value")[:10]
    for shown, rival in zip(values, top, strict=True):
        expected = pytest.approx(100 * math.exp(rival["logprob"]), rel=0.01)
        assert float(shown.removesuffix(" %")) == expected
    browser.picture(picture_folder / "page.png")


def test_cancel_ends_the_work_on_the_server(browser: Browser, address: str) -> None:
    browser.open(address)
    cancelled = 'outcome="cancelled"'
    before = metric(address, "nextword_requests_total", cancelled)
    browser.fill("max_tokens", "400")
    browser.press_start()
    browser.wait(lambda: len(browser.all("#tokens .token")) > 2)
    browser.get("cancel").click()
    browser.wait(lambda: not browser.is_running())
    assert browser.figures()["State"] == "Cancelled by you"
    browser.wait(lambda: metric(address, "nextword_requests_in_flight") == 0)
    browser.wait(lambda: metric(address, "nextword_engine_running") == 0)
    assert metric(address, "nextword_requests_total", cancelled) == before + 1
    assert len(browser.all("#tokens .token")) < 400


def test_an_error_is_the_apis_message_at_its_field(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.fill("temperature", "1000")
    browser.generate()
    assert "temperature must be from 0" in browser.text("error")
    assert browser.get("temperature").get_attribute("aria-invalid") == "true"
    browser.fill("temperature", "")
    browser.fill("top_k", "many")
    browser.generate()
    assert "top_k must be an integer" in browser.text("error")
    assert browser.get("temperature").get_attribute("aria-invalid") == "false"
    complaints = browser.complaints()
    assert len(complaints) == 2
    assert all("400 (Bad Request)" in each for each in complaints)


def test_only_what_was_set_is_sent_and_curl_sends_the_same(
    browser: Browser, scripted: ScriptedServer
) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    plain = {"model": "scripted", "prompt": "Once upon a time", "logprobs": 10, "stream": True}
    assert scripted.bodies == [plain]
    prompt = 'It\'s "quoted" $HOME `ls` \\ and\nnew'
    browser.fill("prompt", prompt)
    browser.fill("temperature", "0.5")
    browser.fill("seed", str(2**64 - 1))
    browser.generate()
    # 64 bits arrive whole, where JavaScript's own numbers would end at 53.
    expected = {**plain, "prompt": prompt, "temperature": 0.5, "seed": 2**64 - 1}
    assert scripted.bodies[1] == expected
    assert browser.figures()["Seed"].startswith(str(2**64 - 1))
    source = "return (await import('/page/curl.js')).curlCommand(location.origin, given[0])"
    command = browser.await_script(source, json.dumps(expected))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("data: [DONE]"), done.stderr
    assert scripted.bodies[2] == expected


def test_copy_gives_the_command(browser: Browser, scripted: ScriptedServer) -> None:
    browser.open(scripted.address)
    browser.chromium.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    browser.get("copy").click()
    browser.wait(lambda: browser.text("copy") == "Copied")
    command = cast("str", browser.await_script("return navigator.clipboard.readText()"))
    assert command.startswith(f"curl -N '{scripted.address}/v1/generate'")
    browser.script("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))")
    browser.get("copy").click()
    browser.wait(lambda: browser.get("curl").is_displayed())
    assert browser.get("curl-command").get_property("value") == command


def test_the_seed_of_an_answer_can_be_used_again(
    browser: Browser, scripted: ScriptedServer
) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    browser.all("#figures button")[0].click()
    assert browser.get("seed").get_property("value") == "1234"
    browser.generate()
    assert scripted.bodies[-1]["seed"] == 1234


def test_rivals_are_reached_by_keyboard(browser: Browser, scripted: ScriptedServer) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    browser.get("seed").send_keys(Keys.TAB)

    def focused() -> str:
        return cast("str", browser.script("return document.activeElement.textContent"))

    browser.wait(lambda: focused() == WORDS[0].decode())
    for key, index in ((Keys.ARROW_RIGHT, 1), (Keys.END, 3), (Keys.ARROW_LEFT, 2), (Keys.HOME, 0)):
        browser.chromium.switch_to.active_element.send_keys(key)
        assert focused() == WORDS[index].decode()
        assert browser.texts(".choice-token")[0] == WORDS[index].decode().strip()
        names = browser.texts(".bar .visually-hidden")
        assert len(names) == 10
        assert [name for name in names if "chosen" in name] == names[:1]
        assert names[0].startswith(f"{WORDS[index].decode().strip()}, after a space: 25.0 %")
    selected = [token.get_attribute("aria-selected") for token in browser.all("#tokens .token")]
    assert selected == ["true", "false", "false", "false"]
    assert len(browser.all('#tokens .token[tabindex="0"]')) == 1


def test_a_stream_that_breaks_off_is_no_success(browser: Browser, scripted: ScriptedServer) -> None:
    scripted.script(event(" so", report(b" so")), is_ended=False)
    browser.open(scripted.address)
    browser.generate()
    assert "connection ended before the text did" in browser.text("error")
    assert browser.figures()["State"] == "Ended by an error"
    assert browser.texts("#tokens .token") == [" so"]


def test_starting_again_leaves_nothing_of_the_text_before(
    browser: Browser, scripted: ScriptedServer
) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    error = {
        "message": "the queue is full",
        "type": "t",
        "param": None,
        "code": "server_overloaded",
    }
    scripted.refusal = (429, {"error": error})
    browser.generate()
    assert "The queue is full".lower() in browser.text("error").lower()
    assert browser.texts("#tokens .token") == []
    browser.complaints()
    story(scripted)
    browser.generate()
    assert not browser.get("error").is_displayed()
    assert browser.texts("#tokens .token") == [word.decode() for word in WORDS]


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
    browser.wait(lambda: not browser.is_running())
    browser.all("#tokens .token")[1].click()
    browser.wait(lambda: browser.get("rivals").is_displayed())
    assert browser.script("return document.scrollingElement.scrollWidth") <= width
    # Text against what is behind it, as WCAG's level AA asks.
    contrasts = browser.await_script(
        """
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
        return ["h1", ".lead", ".ink", ".facts", ".legend", "#start", "#copy", ".figures dt",
                ".bar-value", ".is-chosen .bar-name", ".choice-before", ".choice-token",
                ".hint", "footer a", ".control-label"].map((selector) => {
          const element = document.querySelector(selector);
          const pair = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
          return [selector, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
        });
        """
    )
    assert len(contrasts) == 15
    assert not [(name, ratio) for name, ratio in contrasts if ratio < 4.5]
    browser.picture(tmp_path / f"{width}-{scheme}.png")
    assert (tmp_path / f"{width}-{scheme}.png").stat().st_size > 10_000


def test_every_control_has_a_name(browser: Browser, scripted: ScriptedServer) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    tree = browser.chromium.execute_cdp_cmd("Accessibility.getFullAXTree", {})
    wanted = {"button", "textbox", "slider", "combobox", "listbox", "option", "link", "log"}
    nodes = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree["nodes"]
        if not node["ignored"] and node["role"]["value"] in wanted
    ]
    assert len(nodes) > 25
    assert not [node for node in nodes if not node[1]]
