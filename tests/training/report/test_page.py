"""The report's page, read as a browser would read it."""

import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from training.report import write_report
from training.report.charts import top_of_loss_chart
from training.report.page import report_page
from training.report.run_facts import read_run_facts
from training.run_log.log import EventLogError

Facts = dict[str, Any]
LogOf = Callable[[list[Facts]], Path]
VOID_TAGS = {"meta", "br"}


class Page(HTMLParser):
    """Collects the text of each section and all tags; refuses tags that do not close."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.sections: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self._section: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = []
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "section":
            self.sections[self._section[0]] = "\n".join(self._section)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style" and data.strip():
            self.texts.append(data)
            self._section.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name))]


def page_of(log: Path) -> Page:
    return Page(report_page(read_run_facts(log), command=None))


@pytest.fixture(scope="module")
def page(finished_log: Path) -> Page:
    """The page of a run that went well, as it was written into a file."""
    path, *_ = write_report(finished_log, finished_log.parent / "report")
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_tells_the_numbers_of_the_run(page: Page, finished_log: Path) -> None:
    facts = read_run_facts(finished_log)
    best = facts.best
    assert best is not None
    assert best.step == 1000
    for value in (f"{best.bits_per_byte:.3f}", f"{best.loss:.3f}", f"{math.exp(best.loss):.1f}"):
        assert value in page.texts
    assert "best at step 1,000" in page.texts
    assert "15.6 % below the n-gram's 1.787" in page.texts
    command = "nextword-train --corpus lighthouse.txt --out artifacts/lighthouse --minutes 5"
    assert command in page.sections["How to make it again"].split("\n")
    settings = page.sections["How to make it again"].split("\n")
    assert settings[settings.index("optimizer.peak_learning_rate") + 1] == "0.002"
    text = page.sections["The text"].split("\n")
    assert text[text.index("Removed: licence and header") + 1] == "19.2 kB"
    assert "1 document was empty and was skipped." in text


def test_samples_stand_from_first_to_last_and_name_their_step(page: Page) -> None:
    section = page.sections["How it learned to write"]
    places = [section.index(f"step {step}\n") for step in ("50", "200", "600", "1,200", "2,000")]
    assert places == sorted(places)
    assert "he wrote its name into the book." in section


def test_text_of_corpus_and_model_is_never_markup(events: list[Facts], log_of: LogOf) -> None:
    canary = "<script>alert('canary')</script>\" onload='x' &amp; </style></title>]]>"
    hostile: list[Facts] = [
        {**event, "name": canary, "command": canary, "device": canary, "settings": {canary: canary}}
        if event["event"] == "start"
        else {**event, "description": canary, "notes": [canary], "removed": {canary: 5}}
        if event["event"] == "corpus"
        else {**event, "kind": canary, "examples": [[canary, [canary, canary]]]}
        if event["event"] == "tokenizer"
        else {**event, "text": canary, "prompt": canary}
        if event["event"] == "sample"
        else {**event, "tokens": [canary] * len(event["tokens"])}
        if event["event"] == "surprise"
        else event
        for event in events
    ]
    page = page_of(log_of([*hostile, {"event": "note", "text": canary}]))
    names = {name for name, _ in page.tags}
    assert "script" not in names
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert sum(canary in text for text in page.texts) > 15


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    links = page.values("href") + page.values("xlink:href") + page.values("src")
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"url\((?!#)|@import", page.source)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_every_script_is_shown_as_it_is_with_its_own_direction(page: Page) -> None:
    section = page.sections["The tokenizer"].split("\n")
    for token in ("\u041f\u0440\u0438", "\u4f60", "\U0001f642", "\u0645\u0631"):
        assert token in section
    assert 'class="tokens" dir="auto"' in page.source


def test_control_characters_become_visible_and_direction_marks_cannot_leak(
    events: list[Facts], log_of: LogOf
) -> None:
    sample = {"event": "sample", "step": 2000, "prompt": "", "text": "a\x00b\x1b[31m\u202ec\ud800"}
    page = page_of(log_of([*events, sample]))
    assert any("a\\x00b\\x1b[31m\\u202ec\\ud800" in text for text in page.texts)


def test_the_first_steep_fall_leaves_the_picture_and_the_page_says_so(
    page: Page, finished_log: Path
) -> None:
    facts = read_run_facts(finished_log)
    top = top_of_loss_chart(facts)
    assert top is not None
    assert facts.steps[0].loss > top
    section = page.sections["Learning curve"]
    assert f"begins at {facts.steps[0].loss:.3f}, above the picture" in section


def luminance(colour: str) -> float:
    channels = [byte / 255 for byte in bytes.fromhex(colour.removeprefix("#"))]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_can_be_read_on_every_ground_in_light_and_dark() -> None:
    style = files("training.report").joinpath("page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in style.split("@media (prefers-color-scheme: dark)")[:2]
    )
    inks = {f"h{level}": "heat-ink" for level in range(5)} | {"h5": "warm-ink"}
    inks |= {"h6": "hot-ink", "h7": "hot-ink"} | {f"t{index}": "ink" for index in range(5)}
    pairs = [*inks.items(), ("surface", "ink"), ("page", "muted"), ("surface", "muted")]
    pairs += [("surface", "accent"), ("warm-surface", "ink")]
    for theme in (light, {**light, **dark}):
        for ground, ink in pairs:
            levels = sorted([luminance(theme[ground]), luminance(theme[ink])])
            assert (levels[1] + 0.05) / (levels[0] + 0.05) >= 4.5, (ground, ink)


def without(events: list[Facts], *kinds: str) -> list[Facts]:
    return [event for event in events if event["event"] not in kinds]


def until(events: list[Facts], step: int) -> list[Facts]:
    return [event for event in events if event.get("step", 0) <= step]


PARTIAL_RUNS: dict[str, tuple[Callable[[list[Facts]], list[Facts]], str]] = {
    "nothing": (lambda _: [], "No training step was finished."),
    "prepared": (lambda events: until(events, 0), "No training step was finished."),
    "one step": (lambda events: until(events, 1), "The log ends at step 1 of 2,000"),
    "no evaluation": (
        lambda events: without(until(events, 400), "evaluation"),
        "nothing is known about how well the model does on unseen text",
    ),
    "killed": (lambda events: until(events, 700), "The log ends at step 700 of 2,000"),
    "interrupted": (
        lambda events: [
            *until(events, 700),
            {"event": "end", "reason": "interrupted by Ctrl-C", "steps": 700},
        ],
        "The run ended at step 700 of 2,000 planned steps.",
    ),
    "diverged": (
        lambda events: [
            {**event, "loss": "NaN"} if event.get("step", 0) > 500 and "loss" in event else event
            for event in until(events, 700)
        ],
        "stopped being a finite number at step 504",
    ),
    "never finite": (
        lambda events: [{**event, "loss": "NaN"} if "loss" in event else event for event in events],
        "stopped being a finite number at step 1.",
    ),
    "resumed": (
        lambda events: [
            *until(events, 900),
            *until(events, 0)[:1],
            {"event": "resume", "step": 700},
            *[event for event in events if event.get("step", 0) > 700],
        ],
        "resumed from step 700. 50 steps were done twice",
    ),
    "no n-gram": (lambda events: without(events, "ngram"), "no n-gram model to compare with"),
    "n-gram better": (
        lambda events: [
            {**event, "bits_per_byte": 1.2, "nats_per_token": 2.99}
            if event["event"] == "ngram"
            else event
            for event in events
        ],
        "The n-gram model is still better on the held-out text",
    ),
    "memorising": (
        lambda events: [
            {**event, "train_loss": None, "loss": event["loss"] + 0.6}
            if event["event"] == "evaluation"
            else event
            for event in events
        ],
        "it has begun to memorise",
    ),
    "stopped while measuring the rate": (
        lambda events: [
            {**event, "num_steps": 0} if event["event"] == "step" else event
            for event in until(events, 30)
        ],
        "The log ends at step 28 without a last word",
    ),
    "little text": (
        lambda events: [
            {**event, "train_bytes": 160_000} if event["event"] == "corpus" else event
            for event in events
        ],
        "160 kB is little text to learn a language from",
    ),
}


@pytest.mark.parametrize("name", list(PARTIAL_RUNS))
def test_a_run_in_any_state_gives_a_report_that_says_so(
    events: list[Facts], log_of: LogOf, name: str
) -> None:
    change, remark = PARTIAL_RUNS[name]
    page = page_of(log_of(change(events)))
    assert remark in page.sections["Read this first"]
    assert "nan" not in " ".join(page.texts).lower().split()


def test_a_clean_run_on_much_text_needs_no_remarks(events: list[Facts], log_of: LogOf) -> None:
    clean: list[Facts] = [
        {**event, "train_tokens": 9_000_000} if event["event"] == "corpus" else event
        for event in events
    ]
    end = {"event": "end", "reason": "done", "steps": 2000}
    assert "Read this first" not in page_of(log_of([*clean, end])).sections


def test_a_sample_without_a_word_is_said_to_be_one(events: list[Facts], log_of: LogOf) -> None:
    silent = [{**event, "text": ""} if event["event"] == "sample" else event for event in events]
    section = page_of(log_of(silent)).sections["How it learned to write"]
    assert section.count("(it ended the text at once)") == 5


def test_a_missing_log_is_an_error_for_the_user_and_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(EventLogError):
        write_report(tmp_path / "log.jsonl", tmp_path / "report")
    assert not (tmp_path / "report").exists()
