"""Cuts long texts into pieces at places that no token spans.

The pieces' ids, one after the other, are the ids of the whole text: with GPT-2's pre-tokenizer
and its relatives (Llama 3, Qwen), and with the words, characters and bytes kinds.
"""

import unicodedata
from collections.abc import Callable, Iterator

__all__ = ["cut_text"]


def cut_text(text: str, *, max_characters: int) -> Iterator[str]:
    """Yields pieces of a text that concatenate to it, none longer than `max_characters`.

    A cut is made between a letter and a space that another letter follows; where there is none in
    the second half of a piece, between a letter and white space, or a letter and punctuation
    beyond ASCII (Chinese, Japanese). In a longer run without any of these the piece just ends,
    and the tokens around that one cut may differ from those of the whole.
    """
    start = 0
    while len(text) - start > max_characters:
        end = start + max_characters
        low = start + max(1, max_characters // 2)
        for is_border in (_before_word, _before_space, _before_punctuation):
            border = _last_border(text, is_border, low=low, high=end)
            if border is not None:
                end = border
                break
        yield text[start:end]
        start = end
    if start < len(text) or not text:
        yield text[start:]


def _last_border(
    text: str, is_border: Callable[[str, str, str], bool], *, low: int, high: int
) -> int | None:
    """The last position in [low, high] where a piece may end, judged by the characters there."""
    for position in range(min(high, len(text) - 2), low - 1, -1):
        if is_border(text[position - 1], text[position], text[position + 1]):
            return position
    return None


def _before_word(previous: str, current: str, following: str) -> bool:
    return current == " " and previous.isalpha() and following.isalpha()


def _before_space(previous: str, current: str, following: str) -> bool:
    return current.isspace() and previous.isalpha()


def _before_punctuation(previous: str, current: str, following: str) -> bool:
    # An apostrophe, also the curly one, may be inside a word.
    return (
        previous.isalpha()
        and not current.isascii()
        and current != "\u2019"
        and unicodedata.category(current).startswith("P")
    )
