"""Conversations: messages in, the next one piece by piece; the server's template does the rest."""

from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from nextword.answers import Usage
from nextword.errors import ErrorFacts, InvalidRequestError, NextwordError, ProtocolError
from nextword.request import SamplingParameters, check_timeout

__all__ = ["AsyncChatStream", "ChatMessage", "ChatPiece", "ChatRequest", "ChatStream"]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation.

    Attributes:
        role: Who says it.
        content: What is said.
    """

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request for the next message; its fields are those of `Client.stream_chat`."""

    messages: Sequence[ChatMessage]
    parameters: SamplingParameters = field(default_factory=SamplingParameters)
    model: str | None = None
    timeout_seconds: float = 600.0

    def __post_init__(self) -> None:
        """Refuse what cannot be waited for, and what the one text of an answer cannot hold.

        Raises:
            InvalidRequestError: The timeout is no positive number, or the parameters ask for
                several answers, for logprobs or for the prompt.
        """
        check_timeout(self.timeout_seconds)
        chosen = self.parameters
        if chosen.n not in (None, 1):
            raise _refusal("n", f"n must be 1 in a conversation, got {chosen.n}: ask n times")
        if chosen.logprobs is not None:
            raise _refusal("logprobs", f"logprobs: got {chosen.logprobs}, a conversation has none")
        if chosen.echo:
            raise _refusal("echo", "echo: got True, a conversation does not repeat its prompt")


def _refusal(field: str, message: str) -> InvalidRequestError:
    facts = ErrorFacts(code="invalid_value", status=400, field=field)
    return InvalidRequestError(message, facts=facts)


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """One piece of an answer.

    Attributes:
        text: Whole characters, perhaps none.
        finish_reason: Why the answer ended (``stop``, ``length``); on its last piece only.
        usage: Tokens read and made; on the very last piece only.
    """

    text: str
    finish_reason: str | None = None
    usage: Usage | None = None


class _Received:
    """What has come of an answer."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.is_over = False

    def take(self, piece: ChatPiece) -> ChatPiece:
        self.texts.append(piece.text)
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.usage = piece.usage or self.usage
        return piece

    def check_end(self) -> None:
        was_over, self.is_over = self.is_over, True
        if not was_over and self.finish_reason is None:
            raise ProtocolError("the answer ended in the middle")

    def message(self) -> ChatMessage:
        return ChatMessage("assistant", "".join(self.texts))


class ChatStream:
    """An answer as it is made. Use it in a `with` block, or close it: that cancels the rest."""

    def __init__(self, pieces: Generator[ChatPiece, None, None]) -> None:
        self._pieces = pieces
        self._received = _Received()

    @property
    def message(self) -> ChatMessage:
        """The answer as far as it has come; it stays when an error ends the stream."""
        return self._received.message()

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; None until it has."""
        return self._received.finish_reason

    @property
    def usage(self) -> Usage | None:
        """Tokens read and made; None until the answer has ended."""
        return self._received.usage

    def read_all(self) -> ChatMessage:
        """Wait for the rest of the answer.

        Raises:
            NextwordError: Any of `nextword.errors`; `message` has what came before it.
        """
        for _ in self:
            pass
        return self.message

    def close(self) -> None:
        """Cancel the request, unless it has ended."""
        self._received.is_over = True
        self._pieces.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatPiece:
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


class AsyncChatStream:
    """The same for programs of asyncio. Use it in an `async with` block, or close it."""

    def __init__(self, pieces: AsyncGenerator[ChatPiece, None]) -> None:
        self._pieces = pieces
        self._received = _Received()

    @property
    def message(self) -> ChatMessage:
        """The answer as far as it has come; it stays when an error ends the stream."""
        return self._received.message()

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; None until it has."""
        return self._received.finish_reason

    @property
    def usage(self) -> Usage | None:
        """Tokens read and made; None until the answer has ended."""
        return self._received.usage

    async def read_all(self) -> ChatMessage:
        """Wait for the rest of the answer.

        Raises:
            NextwordError: Any of `nextword.errors`; `message` has what came before it.
        """
        async for _ in self:
            pass
        return self.message

    async def close(self) -> None:
        """Cancel the request, unless it has ended."""
        self._received.is_over = True
        await self._pieces.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatPiece:
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
