"""A text from the key that starts it to its end, by a real model or a scripted one."""

import re

import httpx2
from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.scripted_server import ScriptedServer, ending, event
from tests.page.scripted_tokens import inspection, token_id

WORDS = (b" there", b" was", b" a", b" king")


def story(server: ScriptedServer) -> None:
    """Script four words, each with nine rivals."""
    rivals = [f" word{number}".encode() for number in range(9)]
    events = [event(word.decode(), inspection(word, rivals)) for word in WORDS]
    server.script(*events, ending(len(WORDS)))


def metric(address: str, name: str, label: str = "") -> float:
    """The sum of a metric's series, of those with a label if one is given."""
    lines = httpx2.get(f"{address}/metrics", timeout=60).text.splitlines()
    series = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
    assert series, f"no metric {name}"
    return sum(float(line.rpartition(" ")[2]) for line in series if label in line)


def test_one_key_press_streams_a_real_models_words(browser: Browser, address: str) -> None:
    browser.open(address)
    assert "fairytales" in browser.text("model")
    facts = browser.text("model-facts")
    assert re.search(r"version 1 .* million parameters .* tokens of context", facts)
    chosen = {"max_tokens": 40, "seed": 12, "temperature": 0.7}
    for name, value in chosen.items():
        browser.fill(name, str(value))
    browser.generate()
    tokens = browser.texts("#tokens .token")
    body = {"prompt": "Once upon a time", **chosen, "inspect": {"candidates": 1}}
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


def test_cancel_ends_the_work_on_the_server(browser: Browser, address: str) -> None:
    browser.open(address)
    cancelled = 'outcome="cancelled"'
    before = metric(address, "nextword_requests_total", cancelled)
    browser.fill("max_tokens", "400")
    # Clicked by the page itself: on a busy machine a driver's click may come after the last token.
    browser.script(
        """
        const tokens = document.getElementById("tokens");
        new MutationObserver((_, observer) => {
            if (tokens.querySelectorAll(".token").length < 3) return;
            observer.disconnect();
            document.getElementById("cancel").click();
        }).observe(tokens, {childList: true, subtree: true});
        """
    )
    browser.generate()
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
    browser.fill("top_k", "")
    browser.fill("prompt", "far too long " * 2**15)
    browser.generate()
    assert "at most 512 tokens" in browser.text("error")
    assert browser.get("prompt").get_attribute("aria-invalid") == "true"
    complaints = browser.complaints()
    assert len(complaints) == 3
    assert all("400 (Bad Request)" in each for each in complaints)


def test_only_what_was_set_is_sent(browser: Browser, scripted: ScriptedServer) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    told = {"inspect": {"candidates": 10}, "stream": True}
    plain = {"model": "scripted", "prompt": "Once upon a time", **told}
    assert scripted.bodies == [plain]
    browser.fill("temperature", "0.5")
    browser.fill("seed", str(2**64 - 1))
    browser.generate()
    # 64 bits arrive whole, where JavaScript's own numbers would end at 53.
    assert scripted.bodies[1] == {**plain, "temperature": 0.5, "seed": 2**64 - 1}
    assert browser.figures()["Seed"].startswith(str(2**64 - 1))


def test_enter_starts_and_shift_enter_makes_a_line(
    browser: Browser, scripted: ScriptedServer
) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.fill("prompt", "A")
    browser.get("prompt").send_keys(Keys.END, Keys.SHIFT, Keys.ENTER, Keys.NULL, "B", Keys.ENTER)
    browser.wait(lambda: len(scripted.bodies) == 1 and not browser.is_running())
    assert scripted.bodies[0]["prompt"] == "A\nB"


def test_another_candidate_begins_a_branch_and_the_first_text_stays(
    browser: Browser, scripted: ScriptedServer
) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    browser.wait(lambda: len(browser.all("#lead .token")) == 4)
    browser.choose(1)
    # At once: what is asked for meanwhile draws the list anew.
    browser.script("document.querySelectorAll('.bar-branch')[2].click()")
    browser.wait(lambda: len(scripted.bodies) == 2 and not browser.is_running())
    prompt = [token_id(word) for word in (b"Once", b" upon", b" a", b" time", b" there", b" word2")]
    assert scripted.bodies[1]["prompt_ids"] == prompt
    lead = ["Once", " upon", " a", " time", " there", " word2"]
    assert browser.texts("#lead .token") == lead
    assert browser.texts("#lead .is-branch") == [" word2"]
    branches = browser.all(".branch")
    assert [each.get_attribute("aria-pressed") for each in branches] == ["false", "true"]
    branches[0].click()
    assert browser.texts("#lead .token") == lead[:4]
    assert browser.texts("#tokens .token") == [word.decode() for word in WORDS]
    # A new beginning keeps nothing of it.
    browser.generate()
    assert not browser.get("branches").is_displayed()


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


def test_a_stream_that_breaks_off_is_no_success(browser: Browser, scripted: ScriptedServer) -> None:
    scripted.script(event(" so", inspection(b" so")), is_ended=False)
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
