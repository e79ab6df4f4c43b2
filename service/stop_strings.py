"""Stop strings in a text that comes one character at a time.

Each string is followed by the automaton of Knuth, Morris and Pratt ("Fast pattern matching in
strings", 1977), so a character costs the same however long the strings are.
"""

from collections.abc import Sequence

__all__ = ["StopStrings"]


class StopStrings:
    """How far the end of a text has become each of some strings.

    Args:
        strings: None of them empty.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._fallbacks = [_fallbacks(string) for string in self._strings]
        self._matched = [0] * len(self._strings)

    @property
    def num_possible_characters(self) -> int:
        """Length of the longest end of the text that begins one of the strings."""
        return max(self._matched, default=0)

    def read(self, character: str) -> int:
        """Take the next character.

        Returns:
            Length of the longest string that the text now ends with; 0 when it ends with none.
        """
        longest = 0
        for index, string in enumerate(self._strings):
            fallbacks, matched = self._fallbacks[index], self._matched[index]
            while matched and string[matched] != character:
                matched = fallbacks[matched - 1]
            if string[matched] == character:
                matched += 1
            if matched == len(string):
                longest = max(longest, matched)
                # Should this one not count, a string that overlaps it still may.
                matched = fallbacks[matched - 1]
            self._matched[index] = matched
        return longest


def _fallbacks(string: str) -> list[int]:
    """For each prefix, the length of its longest proper end that begins the string."""
    lengths = [0] * len(string)
    matched = 0
    for end in range(1, len(string)):
        while matched and string[matched] != string[end]:
            matched = lengths[matched - 1]
        if string[matched] == string[end]:
            matched += 1
        lengths[end] = matched
    return lengths
