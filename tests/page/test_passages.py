"""Each text stays itself: its model, its settings, and what was asked about it."""

from tests.page.browser import Browser
from tests.page.scripted_server import DEFAULTS, MODEL, ScriptedServer
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
