"""Calls as gRPC has them: serialized messages under the full names of methods."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from nextword.answers import Generation, Model, TextPiece, Token
from nextword.calls import Call, GlassBoxCall
from nextword.chat import ChatPiece, ChatRequest
from nextword.errors import ErrorFacts, InvalidRequestError, NotPossibleError, ProtocolError
from nextword.grpc_glass_box import answer_type, message_fields, question_message
from nextword.grpc_messages import (
    fill_request,
    read_generation,
    read_model,
    read_piece,
    read_token,
    values_fit,
)
from nextword.json_fields import JsonFields
from nextword.request import GRACE_SECONDS, GenerationRequest
from nextword.v1 import text_generation_pb2 as pb

__all__ = ["GrpcCalls"]

MessageT = TypeVar("MessageT", bound=Message)
AnswerT = TypeVar("AnswerT")

_TEXT_GENERATION = "/nextword.v1.TextGenerationService"
_GLASS_BOX = "/nextword.v1.GlassBoxService"


class GrpcCalls:
    """Makes calls of gRPC."""

    def generate(self, request: GenerationRequest) -> Call[Generation]:
        """The whole continuation in one answer."""
        message = pb.GenerateTextRequest()
        fill_request(message, request)
        return Call(
            path=f"{_TEXT_GENERATION}/GenerateText",
            body=message.SerializeToString(),
            read=_reader(pb.GenerateTextResponse, read_generation),
            seconds=request.timeout_seconds + GRACE_SECONDS,
        )

    def stream(self, request: GenerationRequest) -> Call[TextPiece]:
        """The continuation as it is made."""
        message = pb.StreamGenerateTextRequest()
        fill_request(message, request)
        return Call(
            path=f"{_TEXT_GENERATION}/StreamGenerateText",
            body=message.SerializeToString(),
            read=_reader(pb.StreamGenerateTextResponse, read_piece),
            seconds=request.timeout_seconds + GRACE_SECONDS,
        )

    def stream_chat(self, request: ChatRequest) -> Call[ChatPiece]:
        """Refuse: the route is OpenAI's, and OpenAI has no gRPC.

        Raises:
            NotPossibleError: Always.
        """
        del request
        raise NotPossibleError(
            "conversations go over REST only: give the server's http:// or https:// URL"
        )

    def tokenize(self, text: str, *, model: str | None, seconds: float) -> Call[tuple[Token, ...]]:
        """The tokens of a text."""
        with values_fit("text", text):
            message = pb.TokenizeRequest(text=text, model=model)
        return Call(
            path=f"{_TEXT_GENERATION}/Tokenize",
            body=message.SerializeToString(),
            read=_reader(
                pb.TokenizeResponse,
                lambda answer: tuple(read_token(token) for token in answer.tokens),
            ),
            seconds=seconds,
        )

    def detokenize(self, ids: Sequence[int], *, model: str | None, seconds: float) -> Call[str]:
        """The text of token ids."""
        try:
            message = pb.DetokenizeRequest(ids=ids, model=model)
        except (TypeError, ValueError):
            raise InvalidRequestError(
                "ids must be 32-bit integers",
                facts=ErrorFacts(code="invalid_value", status=400, field="ids"),
            ) from None
        return Call(
            path=f"{_TEXT_GENERATION}/Detokenize",
            body=message.SerializeToString(),
            read=_reader(pb.DetokenizeResponse, lambda answer: answer.text),
            seconds=seconds,
        )

    def list_models(self, *, seconds: float) -> Call[tuple[Model, ...]]:
        """The served models, the default one first."""
        return Call(
            path=f"{_TEXT_GENERATION}/ListModels",
            body=pb.ListModelsRequest().SerializeToString(),
            read=_reader(
                pb.ListModelsResponse,
                lambda answer: tuple(read_model(model) for model in answer.models),
            ),
            seconds=seconds,
        )

    def get_model(self, model: str, *, seconds: float) -> Call[Model]:
        """One model, with its card."""
        with values_fit("id", model):
            message = pb.GetModelRequest(id=model)
        return Call(
            path=f"{_TEXT_GENERATION}/GetModel",
            body=message.SerializeToString(),
            read=_reader(
                pb.GetModelResponse, lambda answer: read_model(answer.model, card=answer.card)
            ),
            seconds=seconds,
        )

    def ask(
        self, call: GlassBoxCall, body: dict[str, object], *, seconds: float
    ) -> Call[JsonFields]:
        """The answer to a question of the glass box."""
        return Call(
            path=f"{_GLASS_BOX}/{call.method}",
            body=question_message(call, body).SerializeToString(),
            read=_reader(answer_type(call), message_fields),
            seconds=seconds,
        )


def _reader(
    kind: type[MessageT], read: Callable[[MessageT], AnswerT]
) -> Callable[[bytes], AnswerT]:
    def read_bytes(data: bytes) -> AnswerT:
        message = kind()
        try:
            message.ParseFromString(data)
        except DecodeError:
            raise ProtocolError("the server's answer is no message of Nextword's") from None
        return read(message)

    return read_bytes
