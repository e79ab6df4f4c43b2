"""Builds HTML in which every text is escaped unless it was made here: injection is a type error.

A `Markup` is HTML that is known to be well formed; a plain `str` is text and becomes escaped text.
"""

import html
from collections.abc import Iterable

from training.printable import printable

_VOID_TAGS = frozenset({"br", "hr", "img", "meta", "link"})


class Markup:
    """A piece of HTML."""

    __slots__ = ("html",)

    def __init__(self, html: str) -> None:
        self.html = html


Child = str | Markup | None


def tag(name: str, /, *children: Child, **attributes: str | None) -> Markup:
    """Returns an element.

    Args:
        name: of the element.
        children: texts (escaped), elements, or None for nothing.
        attributes: `class_` is `class`, underscores become hyphens, None leaves the attribute out.
    """
    opening = name + "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(printable(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID_TAGS:
        assert not children
        return Markup(f"<{opening}>")
    return Markup(f"<{opening}>{join(children).html}</{name}>")


def join(children: Iterable[Child], *, separator: str = "") -> Markup:
    """Returns the children one after the other."""
    return Markup(separator.join(_render(child) for child in children if child is not None))


def _render(child: str | Markup) -> str:
    match child:
        case Markup():
            return child.html
        case str():
            return html.escape(_visible_controls(child))


def _visible_controls(text: str) -> str:
    """Tabs and line feeds are layout in HTML; direction marks belong to scripts and stay inside
    their element."""
    return "".join(
        character if character in "\t\n" or character in _DIRECTION_MARKS else printable(character)
        for character in text
    )


_DIRECTION_MARKS = "\u061c\u200e\u200f"
