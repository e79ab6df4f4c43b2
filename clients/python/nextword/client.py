"""The client for programs: one shape over both protocols, chosen by the URL's scheme."""

from collections import defaultdict
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Protocol, Self

from nextword.address import DEFAULT_REST_URL, Address, parse_address
from nextword.answers import Choice, Generation, Model, Summary, TextPiece, Token
from nextword.errors import ProtocolError
from nextword.glass_box import GlassBox, GlassBoxCall
from nextword.json_fields import JsonFields
from nextword.request import GenerationRequest, InspectionRequest, SamplingParameters

__all__ = ["Client", "TextStream"]


class Transport(Protocol):
    """What a client needs of a protocol."""

    def generate(self, request: GenerationRequest) -> Generation: ...

    def stream(self, request: GenerationRequest) -> Generator[TextPiece, None, None]: ...

    def tokenize(self, text: str, *, model: str | None) -> tuple[Token, ...]: ...

    def detokenize(self, ids: Sequence[int], *, model: str | None) -> str: ...

    def list_models(self) -> tuple[Model, ...]: ...

    def get_model(self, model: str) -> Model: ...

    def ask(self, call: GlassBoxCall, body: dict[str, object], *, seconds: float) -> JsonFields: ...

    def close(self) -> None: ...


class Client:
    """Calls to one server. Use it in a `with` block, or close it.

    Args:
        url: ``http(s)://`` for REST, ``grpc(s)://`` for gRPC; an s for TLS.
        timeout_seconds: How long a call may take that generates nothing.
        api_key: What the server knows its clients by; None where it asks for no key.

    Attributes:
        url: The server's.
        glass_box: Questions about how a model predicts.

    Raises:
        AddressError: The URL is none of a server.
        NotPossibleError: The key has characters that no key has.
    """

    def __init__(
        self,
        url: str = DEFAULT_REST_URL,
        *,
        timeout_seconds: float = 30.0,
        api_key: str | None = None,
    ) -> None:
        address = parse_address(url)
        self._transport = _transport(address, timeout_seconds, api_key)
        self.url = address.url
        self.glass_box = GlassBox(self._transport)

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
        return self._transport.generate(
            GenerationRequest(
                prompt=prompt,
                parameters=parameters or SamplingParameters(),
                model=model,
                timeout_seconds=timeout_seconds,
                parse_special_tokens=parse_special_tokens,
                inspect=inspect,
            )
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
    ) -> "TextStream":
        """Continue a text piece by piece; arguments and errors are those of `generate`.

        The request is sent when the first piece is asked for. Closing the stream cancels it.
        """
        return TextStream(
            self._transport.stream(
                GenerationRequest(
                    prompt=prompt,
                    parameters=parameters or SamplingParameters(),
                    model=model,
                    timeout_seconds=timeout_seconds,
                    parse_special_tokens=parse_special_tokens,
                    inspect=inspect,
                )
            )
        )

    def tokenize(self, text: str, *, model: str | None = None) -> tuple[Token, ...]:
        """The tokens of a text."""
        return self._transport.tokenize(text, model=model)

    def detokenize(self, ids: Sequence[int], *, model: str | None = None) -> str:
        """The text of token ids."""
        return self._transport.detokenize(ids, model=model)

    def list_models(self) -> tuple[Model, ...]:
        """The served models, the default one first."""
        return self._transport.list_models()

    def get_model(self, model: str) -> Model:
        """One model, with its card."""
        return self._transport.get_model(model)

    def close(self) -> None:
        """Close the connections; streams that still run end."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class TextStream:
    """The pieces of a continuation as they are made. Use it in a `with` block, or close it."""

    def __init__(self, pieces: Generator[TextPiece, None, None]) -> None:
        self._pieces = pieces
        self._summary: Summary | None = None

    @property
    def summary(self) -> Summary | None:
        """What concerns the whole request; None until the last piece has come."""
        return self._summary

    def read_all(self) -> Generation:
        """Wait for the pieces that have not been taken yet, and put them together.

        Raises:
            NextwordError: Any of `nextword.errors`.
        """
        pieces: defaultdict[int, list[TextPiece]] = defaultdict(list)
        for piece in self:
            pieces[piece.index].append(piece)
        if self._summary is None:
            raise ProtocolError("the stream ended without its summary")
        choices = tuple(_choice(index, pieces[index]) for index in sorted(pieces))
        return Generation(choices=choices, summary=self._summary)

    def close(self) -> None:
        """Cancel the request, unless it has ended; the server computes no further token of it."""
        self._pieces.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TextPiece:
        piece = next(self._pieces)
        self._summary = piece.summary or self._summary
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _choice(index: int, pieces: Sequence[TextPiece]) -> Choice:
    return Choice(
        index=index,
        text="".join(piece.text for piece in pieces),
        token_ids=tuple(token_id for piece in pieces for token_id in piece.token_ids),
        finish_reason=pieces[-1].finish_reason or "",
        logprobs=tuple(entry for piece in pieces for entry in piece.logprobs),
        inspections=tuple(entry for piece in pieces for entry in piece.inspections),
    )


def _transport(address: Address, timeout_seconds: float, api_key: str | None) -> Transport:
    # Each protocol's library takes a tenth of a second to import; a program needs one of them.
    match address.protocol:
        case "rest":
            from nextword.rest_transport import RestTransport

            return RestTransport(address, timeout_seconds=timeout_seconds, api_key=api_key)
        case "grpc":
            from nextword.grpc_transport import GrpcTransport

            return GrpcTransport(address, timeout_seconds=timeout_seconds, api_key=api_key)
