"""Each text stays itself: its model, its settings, and what was asked about it."""

from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.scripted_server import DEFAULTS, MODEL, ScriptedServer, ending, event
from tests.page.scripted_tokens import inspection
from tests.page.test_generating import story

OTHER = {**MODEL, "id": "other", "default_parameters": {**DEFAULTS, "temperature": 0.5}}
# Answers to one path come only when the test lets them; window.held has one function for each.
HOLD = """
const real = window.fetch;
const [heldPath] = arguments;
window.held = [];
window.fetch = (path, options) => path !== heldPath ? real(path, options)
  : new Promise((resolve, reject) =>
    window.held.push(() => real(path, options).then(resolve, reject)));
"""


def choose_model(browser: Browser, name: str) -> None:
    """Choose a model above the text."""
    browser.script(
        "const select = document.getElementById('model'); select.value = arguments[0];"
        "select.dispatchEvent(new Event('change'))",
        name,
    )


def branch(browser: Browser, place: int = 2) -> None:
    """Go on with another candidate, at once: what is asked for meanwhile draws the list anew."""
    browser.script("document.querySelectorAll('.bar-branch')[arguments[0]].click()", place)


def test_a_branch_goes_to_the_model_of_its_text(browser: Browser, scripted: ScriptedServer) -> None:
    story(scripted)
    scripted.models_served = [MODEL, OTHER]
    browser.open(scripted.address)
    browser.generate()
    browser.wait(lambda: len(browser.all("#lead .token")) == 4)
    choose_model(browser, "other")
    browser.choose(1)
    branch(browser)
    browser.wait(lambda: len(scripted.bodies) == 2 and not browser.is_running())
    assert "prompt_ids" in scripted.bodies[1]
    assert str(scripted.bodies[1]["model"]).partition("@")[0] == "scripted"
    # The next text is the chosen model's again.
    browser.generate()
    assert scripted.bodies[2]["model"] == "other"


def test_a_prompt_whose_tokens_come_late_stays_with_its_own_text(
    browser: Browser, scripted: ScriptedServer
) -> None:
    browser.open(scripted.address)
    browser.script(HOLD, "/v1/tokenize")
    scripted.script(event(" so", inspection(b" so", [b" x"])), is_ended=False)
    browser.fill("prompt", "An old one")
    browser.generate()
    browser.wait(lambda: len(browser.all(".bar")) > 1)
    # A candidate of a text whose beginning is not known leads nowhere.
    assert not browser.all(".bar-branch")
    story(scripted)
    browser.fill("prompt", "A new beginning here")
    browser.press_start()
    browser.wait(lambda: browser.script("return window.held.length") == 2)
    browser.script("window.held.reverse().forEach((release) => release())")
    browser.wait(lambda: not browser.is_running())
    assert browser.texts("#lead .token") == ["A", " new", " beginning", " here"]
    assert browser.all(".bar-branch")


def test_a_choice_is_shown_as_recorded_where_another_version_answers_later(
    browser: Browser, scripted: ScriptedServer
) -> None:
    told = inspection(b" so", [b" x"], likelihood=0.5)
    scripted.script(event(" so", told), ending(1))
    # Sound by itself, but another choice than the one that was made.
    scripted.told_later = inspection(b" so", [b" x"], likelihood=0.125)
    browser.open(scripted.address)
    browser.generate()
    browser.wait(lambda: len(scripted.inspected) == 1)
    # Once a text has ended its version is known, and asked.
    assert scripted.inspected[0]["model"] in {"scripted", "scripted@3"}
    browser.fill("temperature", "0.3")
    browser.wait(lambda: "Something beyond these sliders" in browser.text("choice-body"))
    assert browser.texts(".is-chosen .bar-value") == ["50.0 %", "50.0 %"]
    sibling = browser.await_script(
        'return (await import("/page/ngram_panel.js")).siblingOf("scripted@3")'
    )
    assert sibling == "scripted:ngram@3"


def test_escape_does_one_thing_at_a_time(browser: Browser, scripted: ScriptedServer) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.script(HOLD, "/v1/generate")
    browser.press_start()
    browser.wait(browser.is_running)
    browser.get("copy").click()
    browser.chromium.switch_to.active_element.send_keys(Keys.ESCAPE)
    browser.wait(lambda: not browser.get("copy-dialog").is_displayed())
    assert browser.is_running()
    # On a wide screen the panels cover nothing that Escape would have to uncover first.
    browser.script("document.getElementById('show-settings').click()")
    browser.get("prompt").send_keys(Keys.ESCAPE)
    browser.script("window.held.forEach((release) => release())")
    browser.wait(lambda: not browser.is_running())
    assert browser.figures()["State"] == "Cancelled by you"


def test_a_word_without_a_text_is_looked_up_in_the_chosen_model(
    browser: Browser, scripted: ScriptedServer
) -> None:
    scripted.models_served = [MODEL, OTHER]
    browser.open(scripted.address)
    browser.script(HOLD, "/v1/embedding")
    browser.script(
        "const kept = window.fetch; window.asked = [];"
        "window.fetch = (path, options) => {"
        "  if (path === '/v1/embedding') window.asked.push(options);"
        "  return kept(path, options); };"
    )
    choose_model(browser, "other")
    browser.show_panel("neighbours")
    browser.fill("word", "king")
    browser.get("word").send_keys(Keys.ENTER)
    asked = browser.script("return window.asked.map(({ body }) => JSON.parse(body))")
    assert asked == [{"model": "other", "text": "king", "neighbours": 14}]
    # Another token takes its place, whatever is still on its way.
    story(scripted)
    browser.generate()
    browser.choose(1)
    assert browser.script("return window.asked[0].signal.aborted")
    browser.show_panel("choice")


def test_what_the_api_refuses_is_said_where_it_was_waited_for(
    browser: Browser, scripted: ScriptedServer
) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.script("document.getElementById('side-by-side').open = true")
    browser.script(HOLD, "/v1/tokenize")
    # Broken off before the tokens of its prompt are known.
    scripted.script(event(" so", inspection(b" so", [b" x"])), is_ended=False)
    browser.generate()
    assert "once the tokens of the prompt" in browser.text("comparison")
    # The scripted server knows none of these questions.
    browser.script("window.held[0]()")
    browser.wait(lambda: "No comparison: the server answered 404" in browser.text("comparison"))
    browser.choose(0)
    browser.show_panel("attention")
    browser.wait(lambda: "No answer: the server answered 404" in browser.text("attention"))
    browser.show_panel("choice")
    assert all("404 (Not Found)" in each for each in browser.complaints())


def test_whoever_is_quicker_than_the_list_of_models_waits_for_it(
    browser: Browser, scripted: ScriptedServer
) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.script("document.getElementById('model').replaceChildren()")
    browser.script(HOLD, "/v1/models")
    browser.press_start()
    browser.wait(lambda: browser.script("return window.held.length") == 1)
    assert scripted.bodies == []
    browser.script("window.held[0]()")
    browser.wait(lambda: len(scripted.bodies) == 1 and not browser.is_running())
    assert scripted.bodies[0]["model"] == "scripted"


def test_each_text_keeps_its_figures(browser: Browser, scripted: ScriptedServer) -> None:
    story(scripted)
    browser.open(scripted.address)
    browser.generate()
    browser.wait(lambda: len(browser.all("#lead .token")) == 4)
    browser.choose(1)
    scripted.script(event(" so", inspection(b" so")), ending(1, seed=77))
    branch(browser)
    browser.wait(lambda: len(scripted.bodies) == 1 and not browser.is_running())
    assert browser.figures()["Seed"].startswith("77")
    browser.all(".branch")[0].click()
    figures = browser.figures()
    assert (figures["Seed"][:4], figures["Tokens"]) == ("1234", "4 (prompt 4)")
