"""Choice, attention and neighbours against the API's own numbers, with the bundled model."""

from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.page.browser import Browser
from tests.page.bundled_text import INDEX, ask, percent, prompt_ids

# What the page computes for the token at hand, under other settings.
COMPUTE = """
const { computedChoice } = await import("/page/choice.js");
const { readFloats } = await import("/page/logits.js");
const [record, place, sets] = given;
const logits = readFloats(record.logits);
return sets.map((settings) => {
  const choice = computedChoice(record, { logits, ...place }, settings);
  return {
    drawnId: choice.drawnId,
    number: choice.number,
    stages: choice.stages.map(({ name, kept, entropyBits }) => ({ name, kept, entropyBits })),
    candidates: choice.candidates.map(({ view, after, removedBy, line }) =>
      ({ id: view.id, after, removedBy, line })),
  };
});
"""


def test_the_choice_is_the_one_that_was_recorded(
    browser: Browser, address: str, text: dict[str, Any]
) -> None:
    record = text["choices"][0]["inspections"][INDEX]
    browser.choose(INDEX)
    names = [each["stage"] for each in record["stages"]]
    for stage, row in zip(names, browser.all(".stage[data-stage]"), strict=True):
        expected = next(each for each in record["stages"] if each["stage"] == stage)
        assert row.get_attribute("data-stage") == stage
        if row.is_displayed():
            kept = row.find_element("class name", "stage-kept").text
            assert kept == f"{expected['num_kept']:,}"
    before = browser.texts("ol.bars .bar:not(.is-rest) .bar-value:not(.bar-after)")
    for shown, candidate in zip(before, record["candidates"], strict=True):
        assert percent(shown) == pytest.approx(100 * candidate["probabilities"][0], rel=0.02)
    assert browser.texts(".point-value") == [f"{record['random_number']:.6f}"]
    drawn = next(c for c in record["candidates"] if c["token"]["id"] == record["token"]["id"])
    assert percent(browser.texts(".is-chosen .bar-after")[0]) == pytest.approx(
        100 * drawn["probabilities"][-1], rel=0.02
    )
    # The point lies on the chosen token's stretch of the line.
    browser.wait(lambda: len(browser.all("rect.stretch")) > 12)
    inside = browser.script(
        "const [point, box] = ['.point', 'rect.stretch.is-drawn'].map((s) => "
        "document.querySelector(s).getBoundingClientRect());"
        "return point.left + point.width / 2 >= box.left && "
        "point.left + point.width / 2 <= box.right"
    )
    assert inside
    assert drawn["line_start"] <= record["random_number"] < drawn["line_end"]


def test_other_settings_are_computed_as_the_api_resamples(
    browser: Browser, address: str, text: dict[str, Any]
) -> None:
    ids = [*prompt_ids(address), *text["choices"][0]["token_ids"]]
    position = len(prompt_ids(address)) + INDEX
    body = {"ids": ids, "start": position, "end": position + 1, "seed": 12}
    told = ask(address, "/v1/inspect", {**body, "inspect": {"candidates": 40, "logits": True}})
    record = told["inspections"][0]
    sets = [
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 0.0, "top_k": 50, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 1.7, "top_k": 7, "top_p": 0.9, "min_p": 0.05},
        {"temperature": 0.3, "top_k": 0, "top_p": 0.5, "min_p": 0.0},
        {"temperature": 0.9, "top_k": 0, "top_p": 1.0, "min_p": 0.2, "repetition_penalty": 1.3},
        {"temperature": 1.2, "top_k": 33, "top_p": 0.99, "min_p": 0.001, "presence_penalty": 0.7},
    ]
    seeds = [12, 0, 1, 2**53 - 1, 99, 7]
    place = {"idsBefore": ids[:position], "numPromptIds": len(prompt_ids(address))}
    twins = browser.await_script(
        COMPUTE,
        record,
        place,
        [{**each, "seed": str(seed)} for each, seed in zip(sets, seeds, strict=True)],
    )
    answer = ask(
        address,
        "/v1/resample",
        {
            "logits": record["logits"],
            "ids": place["idsBefore"],
            "num_prompt_tokens": place["numPromptIds"],
            "parameters": [{**each, "seed": s} for each, s in zip(sets, seeds, strict=True)],
            "inspect": {"candidates": 40},
        },
    )
    for twin, expected in zip(twins, answer["inspections"], strict=True):
        assert twin["drawnId"] == expected["drawn_token"]["id"]
        assert twin["number"] == expected["random_number"]
        for mine, stage in zip(twin["stages"], expected["stages"], strict=True):
            assert (mine["name"], mine["kept"]) == (stage["stage"], stage["num_kept"])
            assert mine["entropyBits"] == pytest.approx(stage["entropy_bits"], abs=1e-6)
        theirs = {each["token"]["id"]: each for each in expected["candidates"]}
        for mine in twin["candidates"][:40]:
            if mine["id"] not in theirs:
                continue
            candidate = theirs[mine["id"]]
            assert mine["after"] == pytest.approx(candidate["probabilities"][-1], abs=1e-9)
            assert mine["removedBy"] == candidate["removed_by"]
            if mine["after"] > 0:
                assert mine["line"] == pytest.approx(
                    [candidate["line_start"], candidate["line_end"]], abs=1e-9
                )


def test_a_slider_shows_what_it_would_have_drawn(browser: Browser, text: dict[str, Any]) -> None:
    browser.choose(INDEX)
    browser.wait(lambda: len(browser.all("rect.stretch")) > 12)
    assert not browser.all(".what-if")
    browser.get("top_k").send_keys(Keys.CONTROL, "a", Keys.NULL, "3")
    browser.wait(lambda: len(browser.all(".what-if")) == 1)
    assert len(browser.all("rect.stretch")) == 3
    reasons = set(browser.texts(".bar-cut"))
    assert reasons == {"top-k"}
    assert len(browser.all(".bar-cut")) >= 7
    browser.all(".what-if button")[0].click()
    browser.wait(lambda: not browser.all(".what-if"))
    assert browser.get("top_k").get_property("value") == ""  # type: ignore[misc]
    assert browser.get("temperature").get_property("value") == "0.7"  # type: ignore[misc]


def test_tokens_of_the_prompt_can_be_opened(
    browser: Browser, address: str, text: dict[str, Any]
) -> None:
    browser.all("#lead .token")[2].click()
    browser.wait(lambda: len(browser.all(".bar")) > 5)
    body = {"ids": prompt_ids(address), "start": 2, "end": 3}
    record = ask(address, "/v1/inspect", body)["inspections"][0]
    shown = browser.texts(".is-chosen .bar-value")[0]
    assert percent(shown) == pytest.approx(100 * 2 ** -record["surprise_bits"], rel=0.02)
    browser.all("#lead .token")[0].click()
    browser.wait(lambda: "Nothing stands before" in browser.text("choice-body"))


def test_attention_is_drawn_over_the_text(
    browser: Browser, address: str, text: dict[str, Any], picture_folder: Path
) -> None:
    ids = [*prompt_ids(address), *text["choices"][0]["token_ids"]]
    position = len(prompt_ids(address)) + INDEX
    body = {"ids": ids[:position], "start": position - 1, "end": position}
    maps = ask(address, "/v1/attention", body)["maps"]
    browser.choose(INDEX)
    browser.show_panel("attention")
    browser.wait(lambda: bool(browser.all(".heads")))
    browser.script(
        "for (const [name, value] of [['Layer', 2], ['Head', 1]]) {"
        "const select = document.querySelector(`[data-chooser=${name}]`);"
        "select.value = value; select.dispatchEvent(new Event('change')); }"
    )
    (row,) = next(each["rows"] for each in maps if (each["layer"], each["head"]) == (2, 1))
    assert sum(row) == pytest.approx(1, abs=1e-4)
    expected = sorted(row, reverse=True)[:8]
    for shown, weight in zip(browser.texts("#attention .bar-value"), expected, strict=True):
        assert percent(shown) == pytest.approx(100 * weight, rel=0.02, abs=0.001)
    washed = browser.all(".is-looked-at")
    assert len(washed) == sum(weight >= 0.02 for weight in row)
    assert len(browser.all(".arcs path")) == min(12, len(washed))
    browser.picture(picture_folder / "glass-box-attention.png")
    browser.show_panel("choice")
    assert not browser.all(".is-looked-at, .arcs path")


def test_neighbours_lead_from_word_to_word(
    browser: Browser, address: str, text: dict[str, Any]
) -> None:
    browser.choose(INDEX)
    browser.show_panel("neighbours")
    browser.wait(lambda: len(browser.all(".neighbours .bar")) == 14)
    browser.fill("word", "\u2423king")
    browser.get("word").send_keys(Keys.ENTER)
    answer = ask(address, "/v1/embedding", {"text": " king", "neighbours": 14})
    cosines = [f"{each['cosine']:.3f}" for each in answer["neighbours"]]
    browser.wait(lambda: browser.texts(".neighbours .bar-value") == cosines)
    nearest = answer["neighbours"][0]["token"]["text"].strip()
    browser.all(".word-link")[0].click()
    browser.wait(lambda: browser.texts("#neighbours .token-name") == [nearest])
    browser.fill("word", "more than one token")
    browser.get("word").send_keys(Keys.ENTER)
    browser.wait(
        lambda: (
            "token" in browser.texts("#neighbours .note")[0]
            if browser.all("#neighbours .note")
            else False
        )
    )
    assert all("400 (Bad Request)" in each for each in browser.complaints())
