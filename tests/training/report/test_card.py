"""The model card, read as hubs read it: by a Markdown parser and by the hub's own client."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from training.report import model_card

Facts = dict[str, Any]
LogOf = Callable[[list[Facts]], Path]
HEADINGS = [
    "lighthouse",
    "Numbers",
    "Samples",
    "Intended use",
    "Limits",
    "Training text",
    "How it was made",
    "How to serve it",
    "Files",
]


def parse(card: str) -> list[Token]:
    """Parses the part after the front matter with HTML allowed, as hubs do."""
    _, _, body = card.partition("\n---\n")
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)


def headings(tokens: list[Token]) -> list[str]:
    return [
        following.content for token, following in pairwise(tokens) if token.type == "heading_open"
    ]


def flat(tokens: list[Token]) -> list[Token]:
    return [inner for token in tokens for inner in (token, *(token.children or []))]


def visible(tokens: list[Token]) -> str:
    return "\n".join(token.content for token in flat(tokens) if token.type in {"text", "fence"})


def test_the_card_holds_the_facts_and_its_front_matter_is_read_by_the_hub_client(
    finished_log: Path,
) -> None:
    card = model_card(
        finished_log,
        text_status="My own stories.",
        picture=PurePosixPath("loss.png"),
        files={"model.safetensors": 6_400_000},
    )
    assert headings(parse(card)) == HEADINGS
    data = ModelCard(card).data.to_dict()
    assert data["license"] == "other"
    assert "language" not in data
    assert data["pipeline_tag"] == "text-generation"
    [result] = data["model-index"][0]["results"]
    metrics = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert metrics["bits_per_byte"] == pytest.approx(1.5087, abs=1e-4)
    words = visible(parse(card))
    for fact in ("3,214,592", "1.509", "3.765", "43.14", "1.787", "15.6 % below it", "6.40 MB"):
        assert fact in words
    assert "My own stories." in words
    assert "nextword-train --corpus lighthouse.txt" in words
    assert "nextword-serve --model" in words


def test_the_card_quotes_at_least_three_samples_word_for_word(
    finished_log: Path, events: list[Facts]
) -> None:
    fences = [token.content for token in parse(model_card(finished_log)) if token.type == "fence"]
    texts = [f"{e['prompt']}{e['text']}\n" for e in events if e["event"] == "sample"]
    assert sum(text in fences for text in texts) >= 3


def test_samples_of_the_published_weights_come_first(events: list[Facts], log_of: LogOf) -> None:
    published = [
        {"event": "sample", "step": 1000, "prompt": "", "text": f"published {index}"}
        for index in range(3)
    ]
    card = model_card(log_of([*events, *published]))
    fences = [token.content for token in parse(card) if token.type == "fence"]
    assert fences[:3] == ["published 0\n", "published 1\n", "published 2\n"]
    assert "The published weights are those of step 1,000." in visible(parse(card))


def test_no_text_can_break_out_of_its_place(events: list[Facts], log_of: LogOf) -> None:
    hostile = "a\n```\n# Heading\n---\n<script>x</script> ![](http://x) | `b` ~~~\n"
    changed: list[Facts] = []
    for event in events:
        match event["event"]:
            case "start":
                event = {**event, "name": hostile, "command": hostile, "parent": hostile}
            case "corpus":
                event = {**event, "description": hostile, "notes": [hostile]}
            case "sample":
                event = {**event, "prompt": "", "text": hostile + "\x1b[31m"}
            case _:
                pass
        changed.append(event)
    card = model_card(log_of(changed), text_status=hostile, files={hostile: 5})
    tokens = parse(card)
    assert headings(tokens)[1:] == HEADINGS[1:]
    types = {token.type for token in flat(tokens)}
    assert not types & {"html_inline", "html_block", "image", "link_open", "hr"}
    samples = [t.content for t in tokens if t.type == "fence" and "\\x1b[31m" in t.content]
    assert len(samples) >= 3
    assert all(sample.startswith("a\n```\n# Heading\n") for sample in samples)
    assert ModelCard(card).data.to_dict()["model-index"][0]["name"] == hostile


def test_an_unfinished_run_has_a_card_without_figures_it_does_not_have(
    events: list[Facts], log_of: LogOf
) -> None:
    begun = [e for e in events if e.get("step", 0) <= 40 and e["event"] != "ngram"]
    card = model_card(log_of(begun))
    words = visible(parse(card))
    assert "The held-out text was never measured." in words
    assert "Samples" not in headings(parse(card))
    assert "model-index" not in ModelCard(card).data.to_dict()
    assert "Nobody has stated the status of these texts." in words


def test_a_stated_licence_stands_in_the_front_matter(finished_log: Path) -> None:
    data = ModelCard(model_card(finished_log, license_id="cc0-1.0")).data.to_dict()
    assert data["license"] == "cc0-1.0"
    assert "license_name" not in data
