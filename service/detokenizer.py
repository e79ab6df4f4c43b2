"""From a stream of tokens to a stream of text: whole characters only, and nothing past a stop.

Text and the tokens that made it are held back together: until a character is complete, and while
the end of the text could still become a stop string.
"""

import codecs
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["DecodedPiece", "Detokenizer"]


@dataclass(frozen=True, slots=True)
class DecodedPiece:
    """Text that can be delivered, and its tokens.

    Attributes:
        text: Whole characters.
        token_ids: Tokens of which at least the first byte lies in text delivered so far.
        is_stopped: Whether a stop string came; everything after it is gone.
    """

    text: str
    token_ids: tuple[int, ...]
    is_stopped: bool = False


class Detokenizer:
    """The text side of one continuation.

    Args:
        token_bytes: Bytes of a token id.
        stop: Strings that end the text before them.
        min_tokens: Tokens before which no stop string counts.
    """

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        *,
        stop: Sequence[str] = (),
        min_tokens: int = 0,
    ) -> None:
        self._token_bytes = token_bytes
        self._stop = tuple(stop)
        self._longest_stop = max(map(len, self._stop), default=0)
        self._min_tokens = min_tokens
        # Python's incremental decoder keeps an unfinished character (at most 3 bytes) and replaces
        # what can become none exactly as decoding everything at once does.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held_text = ""
        self._num_tokens = 0
        # Tokens not delivered yet, with where their text begins, counted in characters from the
        # start of the held text.
        self._held_ids: deque[tuple[int, int]] = deque()

    def push(self, token_ids: Sequence[int]) -> DecodedPiece:
        """Take tokens; give what can be delivered now."""
        for token_id in token_ids:
            start = len(self._held_text)
            self._held_ids.append((token_id, start))
            self._held_text += self._decoder.decode(self._token_bytes(token_id))
            self._num_tokens += 1
            stopped = self._find_stop(start)
            if stopped is not None:
                return stopped
        return self._release(len(self._held_text) - self._num_possible_stop_characters())

    def finish(self) -> DecodedPiece:
        """The end of the tokens: give everything, an unfinished character as U+FFFD."""
        start = len(self._held_text)
        self._held_text += self._decoder.decode(b"", final=True)
        stopped = self._find_stop(start)
        if stopped is not None:
            return stopped
        piece = self._release(len(self._held_text))
        rest = tuple(token_id for token_id, _ in self._held_ids)
        self._held_ids.clear()
        return DecodedPiece(piece.text, piece.token_ids + rest)

    def _find_stop(self, num_old: int) -> DecodedPiece | None:
        """The last piece if a stop string is complete, of which only the end can be new."""
        if not self._stop or self._num_tokens < self._min_tokens:
            return None
        places = [
            self._held_text.find(text, max(0, num_old - len(text) + 1)) for text in self._stop
        ]
        found = [place for place in places if place >= 0]
        if not found:
            return None
        piece = self._release(min(found))
        return DecodedPiece(piece.text, piece.token_ids, is_stopped=True)

    def _num_possible_stop_characters(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = min(self._longest_stop - 1, len(self._held_text))
        for length in range(longest, 0, -1):
            end = self._held_text[-length:]
            if any(text.startswith(end) for text in self._stop):
                return length
        return 0

    def _release(self, num_characters: int) -> DecodedPiece:
        text, self._held_text = (
            self._held_text[:num_characters],
            self._held_text[num_characters:],
        )
        ids: list[int] = []
        while self._held_ids and self._held_ids[0][1] < num_characters:
            ids.append(self._held_ids.popleft()[0])
        self._held_ids = deque((token, start - num_characters) for token, start in self._held_ids)
        return DecodedPiece(text, tuple(ids))
