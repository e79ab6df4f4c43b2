"""The client for programs: one shape over both protocols, chosen by the URL's scheme."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from nextword.address import DEFAULT_REST_URL
from nextword.answers import Generation, Model, TextPiece, Token
from nextword.calls import Call, Transport
from nextword.chat import ChatMessage, ChatPiece, ChatRequest, ChatStream
from nextword.connection import Connection, new_connection
from nextword.glass_box import GlassBox
from nextword.glass_box_questions import Question
from nextword.json_fields import JsonFields
from nextword.protocol import calls_of
from nextword.request import (
    GRACE_SECONDS,
    GenerationRequest,
    InspectionRequest,
    SamplingParameters,
)
from nextword.retries import Attempts, send_patiently, stream_patiently
from nextword.text_stream import TextStream

__all__ = ["Client"]

AnswerT = TypeVar("AnswerT")


class Client:
    """Calls to one server. Use it in a `with` block, or close it; threads may share it.

    Args:
        url: ``http(s)://`` for REST, ``grpc(s)://`` for gRPC; an s for TLS.
        timeout_seconds: How long a call may take that generates nothing.
        api_key: What the server knows its clients by; None where it asks for no key.
        max_retries: How often a call is sent again when the server is full, not ready or not
            reached; its pauses are the server's, and count towards the call's timeout. What
            makes text or shows a model is not sent again once a connection broke under it.
        ca_file: Certificates to trust (PEM) instead of this machine's.

    Attributes:
        url: The server's.
        glass_box: Questions about how a model predicts.

    Raises:
        AddressError: The URL is none of a server, or the certificates cannot be read.
        NotPossibleError: The key has characters that no key has.
        InvalidRequestError: The timeout or the number of retries cannot be.
    """

    def __init__(
        self,
        url: str = DEFAULT_REST_URL,
        *,
        timeout_seconds: float = 30.0,
        api_key: str | None = None,
        max_retries: int = 2,
        ca_file: str | Path | None = None,
    ) -> None:
        connection = new_connection(
            url,
            timeout_seconds=timeout_seconds,
            api_key=api_key,
            max_retries=max_retries,
            ca_file=ca_file,
        )
        self._connection = connection
        self._calls = calls_of(connection)
        self._transport = _transport(connection)
        self.url = connection.address.url
        self.glass_box = GlassBox(self._ask)

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        parameters: SamplingParameters | None = None,
        model: str | None = None,
        timeout_seconds: float = 600.0,
        parse_special_tokens: bool = False,
        inspect: InspectionRequest | None = None,
    ) -> Generation:
        """Continue a text, and wait for the whole answer.

        Args:
            prompt: A text, or token ids that are taken as they are.
            parameters: How tokens are chosen.
            model: NAME or NAME@VERSION; None is the server's default model.
            timeout_seconds: When the server gives up.
            parse_special_tokens: Whether names of control tokens in the text are those tokens.
            inspect: What to tell of how each token was chosen; None is nothing.

        Raises:
            NextwordError: Any of `nextword.errors`.
        """
        request = GenerationRequest(
            prompt=prompt,
            parameters=parameters or SamplingParameters(),
            model=model,
            timeout_seconds=timeout_seconds,
            parse_special_tokens=parse_special_tokens,
            inspect=inspect,
        )
        return self._send(
            lambda seconds: self._calls.generate(replace(request, timeout_seconds=seconds)),
            seconds=timeout_seconds,
            is_costly=True,
        )

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        parameters: SamplingParameters | None = None,
        model: str | None = None,
        timeout_seconds: float = 600.0,
        parse_special_tokens: bool = False,
        inspect: InspectionRequest | None = None,
    ) -> TextStream:
        """Continue a text piece by piece; arguments and errors are those of `generate`.

        The request is sent when the first piece is asked for. Closing the stream cancels it.
        """
        request = GenerationRequest(
            prompt=prompt,
            parameters=parameters or SamplingParameters(),
            model=model,
            timeout_seconds=timeout_seconds,
            parse_special_tokens=parse_special_tokens,
            inspect=inspect,
        )

        def stream(seconds: float) -> Generator[TextPiece, None, None]:
            call = self._calls.stream(replace(request, timeout_seconds=seconds))
            return self._transport.stream(call)

        return TextStream(stream_patiently(self._attempts(timeout_seconds, is_costly=True), stream))

    def stream_chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        parameters: SamplingParameters | None = None,
        model: str | None = None,
        timeout_seconds: float = 600.0,
    ) -> ChatStream:
        """Answer a conversation piece by piece, over REST; the request is sent as by `stream`.

        Args:
            messages: The conversation so far.
            parameters: How tokens are chosen.
            model: NAME or NAME@VERSION of a model with a chat template; None is the default model.
            timeout_seconds: When the server gives up.

        Raises:
            NextwordError: Any of `nextword.errors`.
        """
        request = ChatRequest(
            messages=messages,
            parameters=parameters or SamplingParameters(),
            model=model,
            timeout_seconds=timeout_seconds,
        )

        def stream(seconds: float) -> Generator[ChatPiece, None, None]:
            call = self._calls.stream_chat(replace(request, timeout_seconds=seconds))
            return self._transport.stream(call)

        return ChatStream(stream_patiently(self._attempts(timeout_seconds, is_costly=True), stream))

    def tokenize(self, text: str, *, model: str | None = None) -> tuple[Token, ...]:
        """The tokens of a text."""
        return self._send(lambda seconds: self._calls.tokenize(text, model=model, seconds=seconds))

    def detokenize(self, ids: Sequence[int], *, model: str | None = None) -> str:
        """The text of token ids."""
        return self._send(lambda seconds: self._calls.detokenize(ids, model=model, seconds=seconds))

    def list_models(self) -> tuple[Model, ...]:
        """The served models, the default one first."""
        return self._send(lambda seconds: self._calls.list_models(seconds=seconds))

    def get_model(self, model: str) -> Model:
        """One model, with its card."""
        return self._send(lambda seconds: self._calls.get_model(model, seconds=seconds))

    def close(self) -> None:
        """Close the connections; streams that still run end."""
        self._transport.close()

    def _ask(self, question: Question[AnswerT]) -> AnswerT:
        def call(seconds: float) -> Call[JsonFields]:
            body = question.fields | {"timeout_seconds": seconds}
            return self._calls.ask(question.call, body, seconds=seconds + GRACE_SECONDS)

        return question.read(self._send(call, seconds=question.timeout_seconds, is_costly=True))

    def _attempts(self, seconds: float, *, is_costly: bool) -> Attempts:
        return Attempts(
            max_retries=self._connection.max_retries, seconds=seconds, is_costly=is_costly
        )

    def _send(
        self,
        call: Callable[[float], Call[AnswerT]],
        *,
        seconds: float | None = None,
        is_costly: bool = False,
    ) -> AnswerT:
        attempts = self._attempts(seconds or self._connection.timeout_seconds, is_costly=is_costly)
        return send_patiently(attempts, lambda left: self._transport.send(call(left)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _transport(connection: Connection) -> Transport:
    # Each protocol's library takes a tenth of a second to import; a program needs one of them.
    match connection.address.protocol:
        case "rest":
            from nextword.rest_transport import RestTransport

            return RestTransport(connection)
        case "grpc":
            from nextword.grpc_transport import GrpcTransport

            return GrpcTransport(connection)
