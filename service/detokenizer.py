"""From a stream of tokens to a stream of text: whole characters only, and nothing past a stop.

Text and the tokens that made it are held back together: until a character is complete, and while
the end of the text could still become a stop string.
"""

import codecs
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from service.stop_strings import StopStrings

__all__ = ["DecodedPiece", "Detokenizer"]


class DecodedPiece(msgspec.Struct, frozen=True):
    """Text that can be delivered, and its tokens; a Struct, since there is one for each message.

    Attributes:
        text: Whole characters.
        token_ids: Tokens of which at least the first byte lies in text delivered so far, and
            those without any text.
        is_stopped: Whether a stop string came; everything from its beginning on is gone.
    """

    text: str
    token_ids: tuple[int, ...]
    is_stopped: bool = False


class _HeldToken(msgspec.Struct, frozen=True):
    """A token not delivered yet; its text begins at this character of the whole text."""

    token_id: int
    start: int
    has_text: bool


class Detokenizer:
    """The text side of one continuation.

    Args:
        token_bytes: Bytes of a token id.
        stop: Strings that end the text before them; where several end with one character, the
            longest.
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
        self._stop = StopStrings(stop) if stop else None
        self._min_tokens = min_tokens
        # Python's incremental decoder keeps an unfinished character (at most 3 bytes) and replaces
        # what can become none exactly as decoding everything at once does.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_tokens = 0
        # Characters decoded so far; the last of them are held, the others were delivered.
        self._num_characters = 0
        self._held_text: list[str] = []
        self._held_tokens: deque[_HeldToken] = deque()
        # Whether nothing is held back: neither text nor tokens nor a part of a character.
        self._is_even = True

    def pass_on(self, token_ids: Sequence[int]) -> str | None:
        """Take tokens whose text can be delivered as it is; None leaves them to `push`.

        Nearly always they are whole characters, and nothing has to be looked at twice.
        """
        if not self._is_even or self._stop is not None:
            return None
        try:
            text = b"".join(map(self._token_bytes, token_ids)).decode()
        except UnicodeDecodeError:
            return None
        self._num_characters += len(text)
        return text

    def push(self, token_ids: Sequence[int]) -> DecodedPiece:
        """Take tokens; give what can be delivered now."""
        if (text := self.pass_on(token_ids)) is not None:
            return DecodedPiece(text, tuple(token_ids))
        piece = self._push_each(token_ids)
        is_held = self._held_tokens or any(self._held_text)
        self._is_even = not (is_held or self._decoder.getstate()[0])
        return piece

    def _push_each(self, token_ids: Sequence[int]) -> DecodedPiece:
        for token_id in token_ids:
            data = self._token_bytes(token_id)
            self._held_tokens.append(_HeldToken(token_id, self._num_characters, bool(data)))
            self._num_tokens += 1
            stop_start = self._read(self._decoder.decode(data))
            if stop_start is not None:
                return self._release(stop_start, is_stopped=True)
        num_possible = 0 if self._stop is None else self._stop.num_possible_characters
        return self._release(self._num_characters - num_possible)

    def finish(self) -> DecodedPiece:
        """The end of the tokens: give everything, an unfinished character as U+FFFD."""
        stop_start = self._read(self._decoder.decode(b"", final=True))
        if stop_start is not None:
            return self._release(stop_start, is_stopped=True)
        piece = self._release(self._num_characters)
        rest = tuple(token.token_id for token in self._held_tokens)
        self._held_tokens.clear()
        return DecodedPiece(piece.text, piece.token_ids + rest)

    def _read(self, text: str) -> int | None:
        """Append to the text; where a stop string that counts begins, if one is complete now."""
        if self._stop is None:
            self._held_text.append(text)
            self._num_characters += len(text)
            return None
        for character in text:
            self._held_text.append(character)
            self._num_characters += 1
            length = self._stop.read(character)
            if length and self._num_tokens >= self._min_tokens:
                return self._num_characters - length
        return None

    def _release(self, end: int, *, is_stopped: bool = False) -> DecodedPiece:
        """The text up to a character, and the tokens whose text begins before it."""
        held = "".join(self._held_text)
        start = self._num_characters - len(held)
        assert end >= start  # whatever may become a stop string was held
        text, rest = held[: end - start], held[end - start :]
        self._held_text = [rest]
        ids: list[int] = []
        while self._held_tokens and _is_before(self._held_tokens[0], end):
            ids.append(self._held_tokens.popleft().token_id)
        return DecodedPiece(text, tuple(ids), is_stopped)


def _is_before(token: _HeldToken, end: int) -> bool:
    # A token without text lies between two characters.
    return token.start < end or (token.start == end and not token.has_text)
