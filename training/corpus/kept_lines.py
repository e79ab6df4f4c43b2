"""The lines that are left of a Markdown text; blocks stay parted where only a mark parted them."""

from dataclasses import dataclass, field

from training.corpus.markdown_inline import strip_inline

__all__ = ["KeptLines"]


@dataclass(slots=True)
class KeptLines:
    """Lines in their order.

    Attributes:
        labels: keys of the link labels that the document defines.
        lines: the lines so far; a paragraph may be one entry of several lines.
        num_marks: sure signs of Markdown met.
        needs_gap: an empty line has to stand before the next text.
        drops_blank: an empty line after an empty line would be one too many.
    """

    labels: frozenset[str]
    lines: list[str] = field(default_factory=list[str])
    num_marks: int = 0
    needs_gap: bool = False
    drops_blank: bool = False

    def text(self, line: str) -> None:
        """Keeps a line that is not empty, or a paragraph of such lines."""
        if self.needs_gap and self.lines and self.lines[-1].strip():
            self.lines.append("")
        self.lines.append(line)
        self.needs_gap = self.drops_blank = False

    def blank(self, line: str) -> None:
        """Keeps an empty line, unless a removed one made it superfluous."""
        if not self.drops_blank or (self.lines and self.lines[-1].strip()):
            self.lines.append(line)

    def gap(self) -> None:
        """What follows is another block than what was before."""
        self.needs_gap = True

    def removed(self, head: str = "") -> None:
        """A line is gone but for its list mark; of the empty lines around it one is enough."""
        if head.strip():
            self.text(head.rstrip())
        self.needs_gap = self.drops_blank = True

    def inline(self, head: str, content: str) -> None:
        """Keeps what is left of a paragraph behind its list mark or indentation."""
        stripped = strip_inline(content, labels=self.labels)
        self.num_marks += stripped.num_marks
        # Two spaces at a line's end are a mark too: the line ends here.
        lines = [
            line.rstrip(" ") if line.endswith("  ") else line for line in stripped.text.split("\n")
        ]
        if filled := [line for line in lines if line.strip()]:
            self.text(head + "\n".join(filled))
        else:
            self.removed(head)
