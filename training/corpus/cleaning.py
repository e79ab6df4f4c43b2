"""Applies the cleaning rules to one text within the limit on what may be removed unasked."""

from dataclasses import dataclass, field

from training.corpus.gutenberg import find_book
from training.corpus.markdown import shows_markdown, strip_markdown
from training.corpus.settings import CorpusSettings, Rule
from training.corpus.wrapped_lines import join_wrapped_lines

__all__ = ["CUT_GUTENBERG", "JOIN_WRAPPED_LINES", "STRIP_MARKDOWN", "CleanedText", "clean"]

CUT_GUTENBERG = "cut_gutenberg"
JOIN_WRAPPED_LINES = "join_wrapped_lines"
STRIP_MARKDOWN = "strip_markdown"

_MARKDOWN_SUFFIX = ".md"


@dataclass(frozen=True, slots=True)
class CleanedText:
    """A text after cleaning.

    Attributes:
        text: the cleaned text.
        removed_bytes: for each rule that changed the text the UTF-8 bytes it removed.
        num_joined_lines: how many line breaks join_wrapped_lines took away.
        refused_bytes: for each rule that was not applied because it would have gone beyond the
            limit, the bytes it would have removed.
    """

    text: str
    removed_bytes: dict[str, int] = field(default_factory=dict[str, int])
    num_joined_lines: int = 0
    refused_bytes: dict[str, int] = field(default_factory=dict[str, int])


def clean(text: str, settings: CorpusSettings, *, name: str = "") -> CleanedText:
    """Cuts Gutenberg's parts, joins wrapped lines and strips Markdown, as the settings say.

    Args:
        text: line ends as line feeds.
        settings: which rules apply, and the limit.
        name: of the file, without .gz or .xz; tells a Markdown file by its .md.
    """
    removed: dict[str, int] = {}
    refused: dict[str, int] = {}
    num_joined = 0
    before = len(text.encode("utf-8"))
    budget = settings.max_removed_fraction * before

    def is_allowed(rule: str, setting: Rule, after: str) -> bool:
        nonlocal budget
        num_bytes = len(text.encode("utf-8")) - len(after.encode("utf-8"))
        if setting == "auto":
            if num_bytes > budget:
                refused[rule] = num_bytes
                return False
            budget -= num_bytes
        removed[rule] = num_bytes
        return True

    if settings.cut_gutenberg != "off" and (book := find_book(text)):
        after = text[book.start : book.end] + "\n"
        if is_allowed(CUT_GUTENBERG, settings.cut_gutenberg, after):
            text = after
    if settings.join_wrapped_lines != "off":
        joined = join_wrapped_lines(text, force=settings.join_wrapped_lines == "on")
        if joined.num_joined and is_allowed(
            JOIN_WRAPPED_LINES, settings.join_wrapped_lines, joined.text
        ):
            text, num_joined = joined.text, joined.num_joined
    # After joining, which knows by the marks which lines stand for themselves.
    is_markdown = name.lower().endswith(_MARKDOWN_SUFFIX)
    if settings.strip_markdown == "on" or (settings.strip_markdown == "auto" and is_markdown):
        stripped = strip_markdown(text)
        if (
            stripped.text != text
            and (settings.strip_markdown == "on" or shows_markdown(stripped))
            and is_allowed(STRIP_MARKDOWN, settings.strip_markdown, stripped.text)
        ):
            text = stripped.text
    return CleanedText(text, removed, num_joined, refused)
