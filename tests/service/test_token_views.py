"""Tokens as people read them: no notation of a tokenizer, hex for what is no whole character."""

from types import SimpleNamespace
from typing import cast

import pytest

from service.glass_box.token_views import readable_text, text_tokens, view_token
from service.models.model_store import ModelFolder

TOKENS = [b"", b" the", b" cat", "\u732b".encode()[:2], "\u732b".encode()[2:], b"a\xffb\xe2\x80"]


def folder(*, strips_leading_space: bool = False) -> ModelFolder:
    """As much of a folder as views look at; id 0 is a control token, 6 only rounds up."""
    tokenizer = SimpleNamespace(
        control_tokens={0: "<|endoftext|>"}, strips_leading_space=strips_leading_space
    )

    found = SimpleNamespace(tokenizer=tokenizer, token_bytes=[*TOKENS, b""])
    return cast("ModelFolder", found)


@pytest.mark.parametrize(
    ("token_id", "text", "is_control"),
    [
        (0, "<|endoftext|>", True),
        (1, " the", False),
        (3, "\\xE7\\x8C", False),
        (4, "\\xAB", False),
        (5, "a\\xFFb\\xE2\\x80", False),
        (6, "", True),
    ],
)
def test_a_token_is_readable(token_id: int, text: str, is_control: bool) -> None:
    view = view_token(folder(), token_id)
    assert (view.id, view.text, view.is_control) == (token_id, text, is_control)
    assert view.bytes == (TOKENS[token_id] if token_id < len(TOKENS) else b"")


@pytest.mark.parametrize("text", ["", "plain", "\0\u202e<b>\U0001f600", "e\u0301"])
def test_whole_characters_stay_as_they_are(text: str) -> None:
    assert readable_text(text.encode()) == text


def test_tokens_of_a_text_lie_one_behind_the_other() -> None:
    spans = [(each.byte_start, each.byte_end) for each in text_tokens(folder(), [0, 1, 3, 4, 2])]
    assert spans == [(0, 0), (0, 4), (4, 6), (6, 7), (7, 11)]


def test_a_space_that_is_notation_has_no_bytes_of_the_text() -> None:
    found = text_tokens(folder(strips_leading_space=True), [0, 1, 2])
    assert [(each.byte_start, each.byte_end) for each in found] == [(0, 0), (0, 3), (3, 7)]
