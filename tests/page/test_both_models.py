"""The n-gram model on the page, and both models side by side, against the API's own numbers."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.page.browser import Browser
from tests.page.bundled_text import INDEX, PROMPT, SETTINGS, ask, percent, prompt_ids, write


def test_the_ngram_shows_its_window_and_where_it_backed_off(
    browser: Browser, address: str, text: dict[str, Any], picture_folder: Path
) -> None:
    ids = [*prompt_ids(address), *text["choices"][0]["token_ids"]]
    position = len(prompt_ids(address)) + INDEX
    body = {"model": "fairytales:ngram", "ids": ids, "start": position, "end": position + 1}
    record = ask(address, "/v1/inspect", body)["inspections"][0]
    browser.choose(INDEX)
    browser.show_panel("ngram")
    browser.wait(lambda: bool(browser.all(".level")))
    levels = list(reversed(record["ngram"]["levels"]))
    shown = browser.all(".level")
    assert len(shown) == len(levels)
    for row, level in zip(shown, levels, strict=True):
        unknown = "is-unknown" in (row.get_attribute("class") or "")
        assert unknown == (not level["is_known_context"])
        if level["is_known_context"]:
            value = percent(row.find_element("class name", "bar-value").text)
            assert value == pytest.approx(100 * level["probability"], rel=0.02, abs=0.001)
    assert levels[0]["probability"] == pytest.approx(2 ** -record["surprise_bits"], rel=1e-3)
    assert [
        len(each.find_elements("class name", "bar")) for each in browser.all(".beside-column")
    ] == [5, 5]
    browser.picture(picture_folder / "glass-box-ngram.png")


def test_both_models_stand_side_by_side_on_the_same_text(
    browser: Browser, address: str, picture_folder: Path
) -> None:
    browser.emulate(height=940)
    write(browser, address, {**SETTINGS, "max_tokens": 40})
    browser.script("document.getElementById('side-by-side').open = true")
    browser.wait(lambda: len(browser.all(".column")) == 2)
    body = {"prompt": PROMPT, **SETTINGS, "max_tokens": 40}
    made = ask(address, "/v1/generate", body)["choices"][0]["token_ids"]
    ids = [*prompt_ids(address), *made]
    body = {"ids": ids, "side_by_side": True, "token_surprises": True}
    scores = ask(address, "/v1/score", body)["scores"]
    assert [each["kind"] for each in scores] == ["transformer", "ngram"]
    figures = browser.texts(".column-figures strong")
    assert figures == [f"{each['bits_per_byte']:.3f}" for each in scores]
    heats = [
        float(browser.script("return arguments[0].style.getPropertyValue('--heat')", cell))
        for cell in browser.all(".column .warm")
    ]
    bits = [token["surprise_bits"] for score in scores for token in score["tokens"]]
    assert heats == pytest.approx([min(1, each / 12) for each in bits])
    assert math.isclose(sum(bits[: len(ids)]), scores[0]["total_bits"], rel_tol=1e-6)
    browser.choose(INDEX)
    browser.wait(lambda: len(browser.all("rect.stretch")) > 12)
    browser.picture(picture_folder / "glass-box.png")
    browser.all(".column.is-ngram .warm")[INDEX + 3].click()
    selected = browser.script(
        "return [...document.querySelectorAll('.token')].findIndex("
        "(each) => each.getAttribute('aria-selected') === 'true')"
    )
    assert selected == INDEX + 3


def test_the_ngram_model_can_write_by_itself(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.script(
        "const select = document.getElementById('model'); select.value = 'fairytales:ngram';"
        "select.dispatchEvent(new Event('change'))"
    )
    assert "n-grams" in browser.text("model-facts")
    for name, value in SETTINGS.items():
        browser.fill(name, str(value))
    browser.generate()
    assert browser.figures()["Model"] == "fairytales:ngram@1"
    browser.choose(3)
    browser.show_panel("attention")
    assert "no attention" in browser.text("attention")
    browser.show_panel("ngram")
    browser.wait(lambda: bool(browser.all(".level")))
