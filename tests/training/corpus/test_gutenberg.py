"""Header and licence of Project Gutenberg are found in the forms of all its years."""

import pytest

from training.corpus import CorpusSettings
from training.corpus.cleaning import CUT_GUTENBERG, clean
from training.corpus.gutenberg import find_book

BOOK = (
    "A TALE\n\nChapter I\n\n"
    + "It was a long way to the sea, and longer back.\n\n" * 40
    + "THE END"
)
HEADER = "The Project Gutenberg eBook of A Tale\n\nTitle: A Tale\n\nLanguage: English\n\n"
LICENCE = "\n\nSection 1. General Terms of Use\n\nwords of the licence\n"

VARIANTS = {
    "2020s": (
        HEADER + "*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\n\n\n",
        "\n\n*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***\n" + LICENCE,
    ),
    "2010s with credits": (
        HEADER + "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n\n\n\n\n"
        "Produced by One Person and the Online\nProofreading Team at http://example.org\n\n\n",
        "\n\n\n\nEnd of Project Gutenberg's A Tale, by Nobody\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n" + LICENCE,
    ),
    "without a space": (
        HEADER
        + "***START OF THE PROJECT GUTENBERG EBOOK A TALE***\n\n\nE-text prepared by Two\n\n\n",
        "\n\n***END OF THE PROJECT GUTENBERG EBOOK A TALE***\n\n\n******* This file 1.txt\n"
        + LICENCE,
    ),
    "title over two lines": (
        HEADER + "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE OF\nGREAT LENGTH ***\n\n",
        "\n\nEnd of the Project Gutenberg EBook of A Tale\n" + LICENCE,
    ),
    "1990s small print": (
        "**The Project Gutenberg Etext of A Tale**\n\n***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN"
        " ETEXTS**START***\nwords of the small print\n"
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\n",
        "\n\nEnd of The Project Gutenberg Etext of A Tale\n",
    ),
    "curly apostrophe": (
        HEADER + "*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\n",
        "\n\nEnd of Project Gutenberg\u2019s A Tale\n" + LICENCE,
    ),
    "only a header": (HEADER + "*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\n\n", ""),
    "only a licence": ("", "\n\n*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***" + LICENCE),
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_exactly_the_book_is_left(name: str) -> None:
    before, after = VARIANTS[name]
    text = before + BOOK + after
    found = find_book(text)
    assert found is not None
    assert text[found.start : found.end] == BOOK


@pytest.mark.parametrize(
    "text",
    [
        BOOK,
        "He read aloud: the Project Gutenberg has a START and an END.\n" * 5,
        "And so it was the end of the project, Gutenberg said.\n" * 5,
    ],
)
def test_a_text_without_markers_is_left_alone(text: str) -> None:
    assert find_book(text) is None


def short_book() -> str:
    before, after = VARIANTS["2020s"]
    return before + BOOK + after + "words of a long licence\n" * 60


def test_more_than_the_allowed_share_is_not_removed_unasked() -> None:
    cleaned = clean(short_book(), CorpusSettings(sources=("x",)))
    assert cleaned.text == short_book()
    assert cleaned.removed_bytes == {}
    removed = len(short_book()) - len(BOOK) - 1
    assert cleaned.refused_bytes == {CUT_GUTENBERG: removed}


def test_more_is_removed_when_asked_and_nothing_when_off() -> None:
    cleaned = clean(short_book(), CorpusSettings(sources=("x",), cut_gutenberg="on"))
    assert cleaned.text == BOOK + "\n"
    assert cleaned.removed_bytes[CUT_GUTENBERG] == len(short_book()) - len(cleaned.text)
    off = clean(short_book(), CorpusSettings(sources=("x",), cut_gutenberg="off"))
    assert off.text == short_book()
    assert off.refused_bytes == {}


def test_the_limit_is_on_the_sum_of_the_rules() -> None:
    # One header takes nearly all that may be removed; joining then removes line breaks beyond it.
    line = "\u6211\u4eec\u53bb\u770b\u6d77" * 8
    body = "\n\n".join("\n".join([line] * 8) for _ in range(6))
    header = HEADER + "*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\n"
    text = header + body + "\n"
    size = len(text.encode())
    just_enough = (len(header) + 2) / size
    cleaned = clean(text, CorpusSettings(sources=("x",), max_removed_fraction=just_enough))
    assert set(cleaned.removed_bytes) == {CUT_GUTENBERG}
    assert set(cleaned.refused_bytes) == {"join_wrapped_lines"}
