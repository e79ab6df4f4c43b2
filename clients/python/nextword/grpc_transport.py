"""A server over gRPC: one channel; leaving a stream early cancels its call."""

from collections.abc import Generator, Sequence
from typing import TypeVar, cast

import grpc

from nextword.address import Address
from nextword.answers import Generation, Model, TextPiece, Token
from nextword.api_key import authorization
from nextword.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorFacts,
    InvalidRequestError,
    NextwordError,
)
from nextword.glass_box import GlassBoxCall
from nextword.grpc_channel import open_channel
from nextword.grpc_glass_box import GrpcCalls, message_fields
from nextword.grpc_messages import (
    DETAILS_KEY,
    fill_request,
    read_error,
    read_generation,
    read_model,
    read_piece,
    read_token,
)
from nextword.json_fields import JsonFields
from nextword.request import GRACE_SECONDS, GenerationRequest
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

__all__ = ["GrpcTransport", "translate"]

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class GrpcTransport:
    """Calls over gRPC.

    Args:
        address: Where the server is.
        timeout_seconds: How long calls that generate nothing may take.
        api_key: Shown with every call.
    """

    def __init__(
        self, address: Address, *, timeout_seconds: float, api_key: str | None = None
    ) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._metadata = tuple(authorization(api_key).items())
        self._channel = open_channel(address)
        self._stub = TextGenerationServiceStub(self._channel)
        self._glass_box = GrpcCalls(self._channel)

    def generate(self, request: GenerationRequest) -> Generation:
        """The whole continuation in one answer."""
        message = pb.GenerateTextRequest()
        fill_request(message, request)
        seconds = request.timeout_seconds + GRACE_SECONDS
        return read_generation(self._call(self._stub.GenerateText, message, seconds=seconds))

    def stream(self, request: GenerationRequest) -> Generator[TextPiece, None, None]:
        """The continuation as it is made; closing the generator cancels the call."""
        message = pb.StreamGenerateTextRequest()
        fill_request(message, request)
        seconds = request.timeout_seconds + GRACE_SECONDS
        call = self._stub.StreamGenerateText(message, timeout=seconds, metadata=self._metadata)
        try:
            for answer in call:
                yield read_piece(answer)
        except grpc.RpcError as error:
            raise translate(cast("grpc.Call", error), self._address) from None
        finally:
            call.cancel()

    def tokenize(self, text: str, *, model: str | None) -> tuple[Token, ...]:
        """The tokens of a text."""
        answer = self._call(self._stub.Tokenize, pb.TokenizeRequest(text=text, model=model))
        return tuple(read_token(token) for token in answer.tokens)

    def detokenize(self, ids: Sequence[int], *, model: str | None) -> str:
        """The text of token ids."""
        try:
            message = pb.DetokenizeRequest(ids=ids, model=model)
        except ValueError:
            raise InvalidRequestError(
                "ids must be 32-bit integers",
                facts=ErrorFacts(code="invalid_value", status=400, field="ids"),
            ) from None
        return self._call(self._stub.Detokenize, message).text

    def list_models(self) -> tuple[Model, ...]:
        """The served models, the default one first."""
        answer = self._call(self._stub.ListModels, pb.ListModelsRequest())
        return tuple(read_model(model) for model in answer.models)

    def get_model(self, model: str) -> Model:
        """One model, with its card."""
        answer = self._call(self._stub.GetModel, pb.GetModelRequest(id=model))
        return read_model(answer.model, card=answer.card)

    def ask(self, call: GlassBoxCall, body: dict[str, object], *, seconds: float) -> JsonFields:
        """The answer to a question of the glass box."""
        calls = self._glass_box
        message = calls.request(call, body)
        return message_fields(
            self._call(calls.method(call), message, seconds=seconds + GRACE_SECONDS)
        )

    def close(self) -> None:
        """Close the channel; calls that still run end."""
        self._channel.close()

    def _call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        message: RequestT,
        *,
        seconds: float | None = None,
    ) -> ResponseT:
        call = method.future(
            message, timeout=seconds or self._timeout_seconds, metadata=self._metadata
        )
        try:
            return call.result()
        except grpc.RpcError as error:
            raise translate(cast("grpc.Call", error), self._address) from None
        finally:
            # Ctrl-C arrives here too: the server must not go on for nobody.
            call.cancel()


def translate(error: grpc.Call, address: Address) -> NextwordError:
    """The error of a call that ended with a status."""
    code, message = error.code(), error.details() or ""
    trailing = dict(error.trailing_metadata() or ())
    initial = dict(error.initial_metadata() or ())
    details = trailing.get(DETAILS_KEY, b"")
    request_id = initial.get("x-request-id")
    if not details:
        # No server of ours sends a status without details, so it comes from the library here.
        match code:
            case grpc.StatusCode.UNAVAILABLE:
                return ConnectionFailedError(f"nobody answers at {address.url}: {message}")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                facts = ErrorFacts(code="deadline_exceeded", status=504)
                return DeadlineExceededError("the time was over, and no word about it", facts=facts)
            case _:
                pass
    return read_error(
        code,
        message,
        details if isinstance(details, bytes) else details.encode(),
        request_id=request_id if isinstance(request_id, str) else None,
    )
