"""The pieces of a continuation as they are made, for programs that block and that await."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Self

from nextword.answers import Choice, Generation, Summary, TextPiece
from nextword.errors import NextwordError, ProtocolError

__all__ = ["AsyncTextStream", "TextStream"]


class _Received:
    """What has come of a stream."""

    def __init__(self) -> None:
        self.summary: Summary | None = None
        self.is_over = False
        self._pieces: defaultdict[int, list[TextPiece]] = defaultdict(list)

    def take(self, piece: TextPiece) -> TextPiece:
        """Keep a piece, but not what was told of how its tokens were chosen: that is long."""
        self.summary = piece.summary or self.summary
        self._pieces[piece.index].append(
            TextPiece(piece.index, piece.text, piece.token_ids, piece.finish_reason)
        )
        return piece

    def check_end(self) -> None:
        """Look at the end of the messages, whichever protocol they came over.

        Raises:
            ProtocolError: It came too early.
        """
        was_over, self.is_over = self.is_over, True
        if not was_over and self.summary is None:
            raise ProtocolError("the stream ended in the middle")

    def choices(self) -> tuple[Choice, ...]:
        """The continuations as far as they have come."""
        return tuple(_choice(index, self._pieces[index]) for index in sorted(self._pieces))


class TextStream:
    """The pieces of a continuation as they are made. Use it in a `with` block, or close it."""

    def __init__(self, pieces: Generator[TextPiece, None, None]) -> None:
        self._pieces = pieces
        self._received = _Received()

    @property
    def summary(self) -> Summary | None:
        """What concerns the whole request; None until the last piece has come."""
        return self._received.summary

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The continuations as far as they have come: text, token ids, and the reason of an end.

        They stay when an error ends the stream.
        """
        return self._received.choices()

    def read_all(self) -> Generation:
        """Wait for the pieces that have not been taken yet, and put them together.

        Raises:
            NextwordError: Any of `nextword.errors`; `choices` has what came before it.
        """
        return _generation(list(self), self._received)

    def close(self) -> None:
        """Cancel the request, unless it has ended; the server computes no further token of it."""
        self._received.is_over = True
        self._pieces.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TextPiece:
        try:
            return self._received.take(next(self._pieces))
        except StopIteration:
            self._received.check_end()
            raise
        except NextwordError:
            self._received.is_over = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncTextStream:
    """The same for programs of asyncio. Use it in an `async with` block, or close it."""

    def __init__(self, pieces: AsyncGenerator[TextPiece, None]) -> None:
        self._pieces = pieces
        self._received = _Received()

    @property
    def summary(self) -> Summary | None:
        """What concerns the whole request; None until the last piece has come."""
        return self._received.summary

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The continuations as far as they have come: text, token ids, and the reason of an end.

        They stay when an error ends the stream.
        """
        return self._received.choices()

    async def read_all(self) -> Generation:
        """Wait for the pieces that have not been taken yet, and put them together.

        Raises:
            NextwordError: Any of `nextword.errors`; `choices` has what came before it.
        """
        return _generation([piece async for piece in self], self._received)

    async def close(self) -> None:
        """Cancel the request, unless it has ended; the server computes no further token of it."""
        self._received.is_over = True
        await self._pieces.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextPiece:
        try:
            return self._received.take(await anext(self._pieces))
        except StopAsyncIteration:
            self._received.check_end()
            raise
        except NextwordError:
            self._received.is_over = True
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _generation(pieces: list[TextPiece], received: _Received) -> Generation:
    if received.summary is None:
        raise ProtocolError("the stream was closed before its end")
    by_index: defaultdict[int, list[TextPiece]] = defaultdict(list)
    for piece in pieces:
        by_index[piece.index].append(piece)
    choices = tuple(_choice(index, by_index[index]) for index in sorted(by_index))
    return Generation(choices=choices, summary=received.summary)


def _choice(index: int, pieces: list[TextPiece]) -> Choice:
    return Choice(
        index=index,
        text="".join(piece.text for piece in pieces),
        token_ids=tuple(token_id for piece in pieces for token_id in piece.token_ids),
        finish_reason=pieces[-1].finish_reason or "",
        logprobs=tuple(entry for piece in pieces for entry in piece.logprobs),
        inspections=tuple(entry for piece in pieces for entry in piece.inspections),
    )
