"""What the tests do in the browser, in a reader's words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

WAIT_SECONDS = 60


class Browser:
    """One tab on the page."""

    def __init__(self, chromium: webdriver.Chrome) -> None:
        self.chromium = chromium

    def emulate(self, *, width: int = 1280, height: int = 860, scheme: str = "light") -> None:
        """Be a screen of this size, whose owner prefers light or dark."""
        metrics: dict[str, object] = {
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": width < 600,
        }
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setDeviceMetricsOverride", metrics)
        self._command("Emulation.setEmulatedMedia", {"features": features})

    def open(self, address: str) -> None:
        """Go to the page and wait until it knows the models."""
        self.chromium.get(address + "/")
        self.wait(lambda: self.text("model-facts") != "")

    def get(self, element_id: str) -> WebElement:
        """The element with an id."""
        return self.chromium.find_element(By.ID, element_id)

    def text(self, element_id: str) -> str:
        """What can be read in an element."""
        return self.get(element_id).text

    def texts(self, selector: str) -> list[str]:
        """The text of each element that a selector finds, as it is in the page at one moment."""
        source = "return Array.from(document.querySelectorAll(arguments[0]), (e) => e.textContent)"
        return cast("list[str]", self.script(source, selector))

    def all(self, selector: str) -> list[WebElement]:
        """Every element that a selector finds."""
        return self.chromium.find_elements(By.CSS_SELECTOR, selector)

    def fill(self, element_id: str, text: str) -> None:
        """Replace what stands in a field, by whatever characters."""
        self.script(
            "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input', {bubbles: true}))",
            element_id,
            text,
        )

    def press_start(self) -> None:
        """The one key: Enter in the prompt."""
        self.get("prompt").send_keys(Keys.ENTER)

    def choose(self, index: int) -> None:
        """Click a token of the continuation."""
        self.all("#tokens .token")[index].click()

    def show_panel(self, name: str) -> None:
        """Open a panel by its tab: choice, attention, neighbours or ngram."""
        self.get(f"tab-{name}").click()

    def generate(self) -> None:
        """Start, and wait until it ended in whatever way."""
        self.press_start()
        self.wait(lambda: not self.is_running())

    def is_running(self) -> bool:
        """Whether a generation can be cancelled."""
        return self.get("cancel").is_enabled()

    def figures(self) -> dict[str, str]:
        """The figures below the text."""
        names, values = self.all("#figures dt"), self.all("#figures dd")
        return {name.text: value.text for name, value in zip(names, values, strict=True)}

    def script(self, source: str, *arguments: object) -> Any:
        """What a script returns."""
        return cast("Any", self.chromium).execute_script(source, *arguments)

    def await_script(self, source: str, *arguments: object) -> Any:
        """What a script with `await` in it returns."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...given) => {{ {source} }})(...arguments).then(done, e => done(String(e)))"
        )
        return cast("Any", self.chromium).execute_async_script(wrapped, *arguments)

    def evaluate(self, source: str) -> None:
        """Run a script of a library in the page, past its policy, which allows no such script."""
        self._command("Runtime.evaluate", {"expression": source})

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        WebDriverWait(self.chromium, WAIT_SECONDS, poll_frequency=0.02).until(lambda _: is_so())

    def complaints(self) -> list[str]:
        """What the console got since the last call: errors, warnings, breaches of the policy."""
        entries = cast("list[dict[str, str]]", cast("Any", self.chromium).get_log("browser"))
        return [entry["message"] for entry in entries if entry["level"] in {"WARNING", "SEVERE"}]

    def picture(self, path: Path) -> None:
        """Save what can be seen."""
        assert self.chromium.save_screenshot(str(path))

    def _command(self, name: str, values: dict[str, object]) -> None:
        cast("Any", self.chromium).execute_cdp_cmd(name, values)
