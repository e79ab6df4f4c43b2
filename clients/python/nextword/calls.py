"""One call as both protocols send it: a path, bytes out, and how the bytes that come are read.

`RestCalls` and `GrpcCalls` make calls; the transports, which block or await, send them and know
nothing of what they hold.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from nextword.answers import Generation, Model, TextPiece, Token
from nextword.chat import ChatPiece, ChatRequest
from nextword.json_fields import JsonFields
from nextword.request import GenerationRequest

__all__ = ["AsyncTransport", "Call", "Calls", "GlassBoxCall", "Transport"]

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class GlassBoxCall:
    """One call of the glass box: its path of REST and its method of GlassBoxService."""

    path: str
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[AnswerT]):
    """One call.

    Attributes:
        path: REST's path, or the full name of gRPC's method.
        body: What is sent; None is a GET.
        read: Turns the answer, or each message of a stream, into a value.
        seconds: How long the whole of it may take.
    """

    path: str
    body: bytes | None
    read: Callable[[bytes], AnswerT]
    seconds: float


class Calls(Protocol):
    """What a protocol makes of the client's questions."""

    def generate(self, request: GenerationRequest) -> Call[Generation]: ...

    def stream(self, request: GenerationRequest) -> Call[TextPiece]: ...

    def stream_chat(self, request: ChatRequest) -> Call[ChatPiece]: ...

    def tokenize(self, text: str, *, model: str | None, seconds: float) -> Call[tuple[Token, ...]]:
        """The tokens of a text."""
        ...

    def detokenize(self, ids: Sequence[int], *, model: str | None, seconds: float) -> Call[str]: ...

    def list_models(self, *, seconds: float) -> Call[tuple[Model, ...]]: ...

    def get_model(self, model: str, *, seconds: float) -> Call[Model]: ...

    def ask(
        self, call: GlassBoxCall, body: dict[str, object], *, seconds: float
    ) -> Call[JsonFields]: ...


class Transport(Protocol):
    """Sends calls, and waits for what comes."""

    def send(self, call: Call[AnswerT]) -> AnswerT: ...

    def stream(self, call: Call[AnswerT]) -> Generator[AnswerT, None, None]: ...

    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """The same for programs of asyncio."""

    async def send(self, call: Call[AnswerT]) -> AnswerT: ...

    def stream(self, call: Call[AnswerT]) -> AsyncGenerator[AnswerT, None]: ...

    async def close(self) -> None: ...
