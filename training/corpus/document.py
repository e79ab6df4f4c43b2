"""One text of a corpus, and the error that a user sees when a corpus cannot be used."""

from dataclasses import dataclass

__all__ = ["CorpusError", "Document"]


class CorpusError(ValueError):
    """A corpus or one of its settings cannot be used; the text is one line for the user."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text that stands for itself: a book, a record, or one stretch of a divided book.

    Attributes:
        name: where it comes from, relative to its source; parts carry a number ("a.txt#2").
        text: its cleaned text, line ends as line feeds.
        ends_here: whether the document ends with this text; false for a part of a giant document
            whose next part follows directly.
    """

    name: str
    text: str
    ends_here: bool = True
