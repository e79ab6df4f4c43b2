"""Where the strings of control tokens stand in texts, found in a time linear in the text.

Expressions are made as trees: at each place of a text only the tokens that go on as it does are
looked at, however many hundred a tokenizer has.
"""

import re
from collections.abc import Iterable
from itertools import groupby, takewhile
from weakref import WeakKeyDictionary

from model.tokenizer import Tokenizer

__all__ = ["ControlStrings", "control_strings", "known_control_strings"]

# Branches within branches; what lies deeper is written side by side, so that the tokens of no
# tokenizer reach the depth at which expressions are refused.
_MAX_DEPTH = 16
# Of a longer piece of a token so much is compared, which takes some texts for more than they are.
_MAX_PIECE = 256

_known: WeakKeyDictionary[Tokenizer, "ControlStrings"] = WeakKeyDictionary()


def known_control_strings(tokenizer: Tokenizer) -> "ControlStrings | None":
    """Those of a tokenizer that was asked for before."""
    return _known.get(tokenizer)


def control_strings(tokenizer: Tokenizer) -> "ControlStrings":
    """Those of a tokenizer; some milliseconds where it has hundreds."""
    found = _known.get(tokenizer)
    if found is None:
        found = _known[tokenizer] = ControlStrings(tokenizer.control_tokens)
    return found


class ControlStrings:
    """The control tokens of one tokenizer as they are written.

    Args:
        by_id: Their strings.
    """

    def __init__(self, by_id: dict[int, str]) -> None:
        strings = {text: token_id for token_id, text in by_id.items() if text}
        folded = {text.lower() for text in strings}
        self._ids = strings
        self._written = _compiled(strings, re.NOFLAG)
        self._spoken = _compiled(folded, re.IGNORECASE)
        self._longest = max(map(len, folded), default=0)
        self._all = "\n".join(folded)
        ends = [(text, range(1, len(text))[:_MAX_PIECE]) for text in folded]
        self._begins = frozenset(text[:size] for text, sizes in ends for size in sizes)
        self._ends = frozenset(text[-size:] for text, sizes in ends for size in sizes)

    def written(self, text: str) -> list[tuple[int, int, int]]:
        """Each in a text that is written just so: where it begins and ends, and its id."""
        if self._written is None:
            return []
        return [(*each.span(), self._ids[each[0]]) for each in self._written.finditer(text)]

    def spoken(self, text: str) -> list[tuple[int, int]]:
        """Ranges of a text that could make one of them, whatever stands before and after it.

        Those that are there in any case of letters, since a template may change it; and the first
        and the last character, spaces aside, where the text goes on with one that began before it
        or begins one: a template may write texts next to each other, and next to its own.
        """
        if self._spoken is None:
            return []
        ranges = [each.span() for each in self._spoken.finditer(text)]
        bare = text.strip()
        if not bare:
            return ranges
        first, last = len(text) - len(text.lstrip()), len(text.rstrip()) - 1
        head, tail = bare[: self._longest].lower(), bare[-self._longest :].lower()
        is_inside = len(bare) < self._longest and head in self._all
        if is_inside or any(
            head[max(end - _MAX_PIECE, 0) : end] in self._ends for end in range(1, len(head) + 1)
        ):
            ranges.append((first, first + 1))
        if is_inside or any(
            tail[start : start + _MAX_PIECE] in self._begins for start in range(len(tail))
        ):
            ranges.append((last, last + 1))
        return ranges


def _compiled(strings: Iterable[str], flags: re.RegexFlag) -> re.Pattern[str] | None:
    """What finds any of the strings, the longest where several begin; None for none."""
    ordered = sorted(strings)
    return re.compile(_tree(ordered, _MAX_DEPTH), flags) if ordered else None


def _tree(strings: list[str], depth: int) -> str:
    """The strings, sorted and none of them empty, as one expression that shares beginnings."""
    if depth == 0:
        return "|".join(map(re.escape, sorted(strings, key=len, reverse=True)))
    branches: list[str] = []
    for _, group in groupby(strings, key=lambda text: text[0]):
        same = list(group)
        # In order, so that what the first and the last share all share.
        most = zip(same[0], same[-1], strict=False)
        shared = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], most))
        rest = [text[len(shared) :] for text in same if text != shared]
        branch = re.escape(shared)
        if rest:
            # The longest first: what ends here is taken where nothing longer goes on.
            branch += f"(?:{_tree(rest, depth - 1)})" + "?" * (len(rest) < len(same))
        branches.append(branch)
    return "|".join(branches)
