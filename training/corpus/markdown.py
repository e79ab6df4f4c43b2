"""Takes Markdown's marks away and keeps the text: every word, and every line of verse.

Reads lines and knows the blocks of CommonMark; the marks inside a paragraph are another file's.
Code and HTML blocks keep their text as it is. List items keep a dash or their number.
"""

import re

from training.corpus.kept_lines import KeptLines
from training.corpus.markdown_inline import StrippedText, label_key

__all__ = ["shows_markdown", "strip_markdown"]

_QUOTE = re.compile(r" {0,3}> ?")
_HEADING = re.compile(r"#{1,6}(?:[ \t]+|$)")
_UNDERLINE = re.compile(r"(?:=+|-+)[ \t]*$")
_RULE = re.compile(r"([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_ITEM = re.compile(r"([-+*]|\d{1,9}[.)])(?:([ \t]+)(?=\S)|[ \t]*$)")
# CommonMark would take "[Aside]: no" for one too, and the words would be lost.
_DEFINITION = re.compile(
    r"\[((?:[^\[\]\\\n]|\\.)+)\]:[ \t]*(?:<[^<>\n]*>|[^\s<]*[/#:@]\S*)"
    r"(?:[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*$",
)
_HTML_BLOCK = re.compile(
    r"</?(?:address|article|aside|blockquote|body|center|col|colgroup|dd|details|dialog|dir|div|dl"
    r"|dt|fieldset|figcaption|figure|footer|form|frame|h[1-6]|head|header|hr|html|iframe|legend|li"
    r"|link|main|menu|nav|ol|option|p|pre|script|section|style|summary|table|tbody|td|textarea"
    r"|tfoot|th|thead|title|tr|track|ul)(?:[\s/>]|$)",
    re.IGNORECASE,
)
# A tag alone on a line begins HTML too, where no paragraph is open.
_LONE_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?/?>[ \t]*$")
_COMMENT = re.compile("<!--.*?-->")
_COMMENT_START, _COMMENT_END = "<!--", "-->"
# A mark or two may be chance: a footnote's star, a name in underscores.
_MIN_MARKS = 3
_MAX_NESTED = 20


def shows_markdown(stripped: StrippedText) -> bool:
    """Whether what was stripped shows that the text was written in Markdown."""
    return stripped.num_marks >= _MIN_MARKS


def strip_markdown(text: str) -> StrippedText:
    """Takes all marks of Markdown away.

    Args:
        text: line ends as line feeds.
    """
    walk = _Stripper(text, frozenset())
    stripped = walk.strip()
    if walk.labels:  # a link may stand before the line that defines its label
        return _Stripper(text, frozenset(walk.labels)).strip()
    return stripped


class _Stripper:
    """One walk over the lines of a text, and what the lines so far have opened."""

    def __init__(self, text: str, labels: frozenset[str]) -> None:
        self.labels: set[str] = set()  # of links, as far as they are defined up to here
        self._lines = text.split("\n")
        self._output = KeptLines(labels)
        self._last_comment_end = max(
            (number for number, line in enumerate(self._lines) if _COMMENT_END in line), default=-1
        )
        self._head = ""  # before the open paragraph's first line: indentation or a list mark
        self._paragraph: list[str] = []
        self._columns: list[int] = []  # at which the texts of the open list items begin
        self._depth = 0  # of block quotes
        self._fence = ""  # the mark that opened a block of code
        self._is_comment = False
        self._is_html = False

    def strip(self) -> StrippedText:
        for number, line in enumerate(self._lines):
            self._read(number, line)
        self._end_paragraph()
        return StrippedText("\n".join(self._output.lines), self._output.num_marks)

    def _read(self, number: int, raw: str) -> None:
        if self._is_comment:
            self._read_comment(raw)
            return
        line, depth = _unquoted(raw, at_most=self._depth if self._fence else None)
        is_outside = line.strip() and self._columns and _indent(line) < self._columns[-1]
        if self._fence and depth == self._depth and not is_outside:
            self._read_code(line)
            return
        if self._fence:
            self._fence = ""
            line, depth = _unquoted(raw)
        if not line.strip():
            self._end_paragraph()
            self._is_html = False
            self._output.blank(line)
        elif self._is_html:
            if shown := _COMMENT.sub("", line).rstrip():
                self._output.text(shown)
        else:
            self._read_block(number, line, depth)

    def _read_code(self, line: str) -> None:
        mark = line.strip()
        is_near = _indent(line) - (self._columns[-1] if self._columns else 0) < 4
        if is_near and len(mark) >= len(self._fence) and not mark.strip(self._fence[0]):
            self._fence = ""
            self._output.removed()
        elif mark:
            self._output.text(line)
        else:
            self._output.blank(line)

    def _read_comment(self, line: str) -> None:
        _, end, rest = line.partition(_COMMENT_END)
        self._is_comment = not end
        if rest := _COMMENT.sub("", rest).strip():
            self._output.text(rest)
        else:
            self._output.removed()

    def _read_block(self, number: int, line: str, depth: int) -> None:
        """A line that is not empty, outside of code, comments and HTML."""
        content = line.lstrip(" \t")
        margin = line[: len(line) - len(content)]
        indent = _indent(line)
        base = max((column for column in self._columns if column <= indent), default=0)
        is_indented = indent - base >= 4
        # Under text of another item or quote a line of dashes is a rule.
        is_beside = depth == self._depth and base == (self._columns[-1] if self._columns else 0)
        if self._paragraph and is_beside and not is_indented and _UNDERLINE.match(content):
            self._end_paragraph()
            self._output.removed()
            return
        if self._paragraph and (is_indented or not self._interrupts(number, content, depth)):
            self._paragraph.append(line)
            return
        self._end_paragraph()
        while self._columns and self._columns[-1] > indent:
            self._columns.pop()
        if depth != self._depth:
            self._depth = depth
            self._output.gap()
        if is_indented:
            self._output.text(line)
        else:
            self._open(number, margin, content)

    def _interrupts(self, number: int, content: str, depth: int) -> bool:
        """Whether a line begins another block although a paragraph is open."""
        if item := _ITEM.match(content):
            # Else a year at a line's beginning would begin a list.
            is_first = item[2] is not None and int(item[1][:-1] or 1) == 1
            return bool(self._columns) or is_first or _RULE.match(content) is not None
        return (
            depth > self._depth
            or any(block.match(content) for block in (_HEADING, _RULE, _FENCE, _HTML_BLOCK))
            or self._is_closed_comment(number, content)
        )

    def _is_closed_comment(self, number: int, content: str) -> bool:
        return content.startswith(_COMMENT_START) and (
            _COMMENT_END in content or self._last_comment_end > number
        )

    def _open(self, number: int, head: str, content: str) -> None:
        """Begins the block whose first line has `content` behind an indentation or list mark."""
        output = self._output
        head, content = self._enter_items(head, content)
        if not content:
            output.text(head.rstrip())
        elif _RULE.match(content):
            output.removed(head)
        elif heading := _HEADING.match(content):
            output.num_marks += 1
            output.gap()
            output.inline(head if head.strip() else "", _title(content[heading.end() :]))
            output.gap()
        elif fence := _FENCE.match(content):
            output.num_marks += 1
            self._fence = fence[1] or fence[2]
            output.removed(head)
        elif self._is_closed_comment(number, content):
            if head.strip():
                output.text(head.rstrip())
            self._read_comment(content)
        elif _HTML_BLOCK.match(content) or _LONE_TAG.match(content):
            self._is_html = True
            output.text(head + content)
        elif definition := _DEFINITION.match(content):
            self.labels.add(label_key(definition[1]))
            output.removed(head)
        else:
            self._head, self._paragraph = head, [content]

    def _enter_items(self, head: str, content: str) -> tuple[str, str]:
        """Moves the list marks that a block begins with to its head; quotes in items go."""
        for _ in range(_MAX_NESTED):
            if _RULE.match(content):
                break
            if item := _ITEM.match(content):
                head += "-" if item[1] in ("*", "+") else item[1]
                column = len(head.expandtabs(4))
                head += item[2] or " "
                width = len(head.expandtabs(4)) - column
                # Five spaces and more: the item begins with code, one column behind the mark.
                self._columns.append(column + (width if width <= 4 else 1))
                content = content[item.end() :]
            elif head.strip() and (quote := _QUOTE.match(content)):
                content = content[quote.end() :].lstrip(" \t")
            else:
                break
        return head, content

    def _end_paragraph(self) -> None:
        if self._paragraph:
            self._output.inline(self._head, "\n".join(self._paragraph))
            self._paragraph = []


def _unquoted(line: str, *, at_most: int | None = None) -> tuple[str, int]:
    """A line without its marks of quotes, and how many it had."""
    depth = 0
    while depth != at_most and (mark := _QUOTE.match(line)):
        line = line[mark.end() :]
        depth += 1
    return line, depth


def _indent(line: str) -> int:
    """Columns of white space at a line's beginning."""
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(4))


def _title(content: str) -> str:
    """A heading's text without the number signs that may close it."""
    title = content.rstrip(" \t")
    shortened = title.rstrip("#")
    return shortened.rstrip(" \t") if shortened[-1:] in ("", " ", "\t") else title
