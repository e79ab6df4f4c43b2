"""The six calls: message in, core, message out. Errors are mapped around them, in `calls`."""

import time
from contextlib import aclosing

from nextword.v1 import text_generation_pb2 as pb

from service.generation import TextPiece
from service.grpc_api.messages import (
    encode_generation,
    encode_piece,
    encode_tokens,
    model_message,
    read_generation_request,
)
from service.grpc_api.paced_context import PacedContext
from service.grpc_transport.call import Call
from service.large_answers import build_answer
from service.models.model_facts import facts_of
from service.models.served_models import ServedModel, ServedModels
from service.outlet import Outlet
from service.request_log import RequestRecord
from service.text_generator import TextGenerator
from service.tokenization import detokenize, tokenize

__all__ = ["Handlers", "call_deadline"]


class Handlers:
    """What each call does."""

    def __init__(self, generator: TextGenerator, models: ServedModels) -> None:
        self._generator = generator
        self._models = models

    async def generate_text(
        self, message: pb.GenerateTextRequest, context: Call, record: RequestRecord
    ) -> bytes:
        """The whole continuation, a GenerateTextResponse."""
        request = read_generation_request(message, deadline=call_deadline(context))
        async with aclosing(self._generator.stream(request, record)) as pieces:
            whole = [piece async for piece in pieces]
        return await build_answer(whole, lambda: encode_generation(whole))

    async def stream_generate_text(
        self, message: pb.StreamGenerateTextRequest, context: PacedContext, record: RequestRecord
    ) -> None:
        """The continuation as it is made."""
        request = read_generation_request(message, deadline=call_deadline(context))

        def put(piece: TextPiece) -> None:
            context.put(encode_piece(piece))

        outlet = Outlet(context.may_put, put)
        async with aclosing(self._generator.stream(request, record, outlet)) as pieces:
            async for piece in pieces:
                await context.write(encode_piece(piece))

    async def tokenize(
        self, message: pb.TokenizeRequest, context: Call, record: RequestRecord
    ) -> bytes:
        """The tokens of a text, a TokenizeResponse."""
        model = self._find(message.model if message.HasField("model") else None, record)
        return await tokenize(model, message.text, encode_tokens)

    async def detokenize(
        self, message: pb.DetokenizeRequest, context: Call, record: RequestRecord
    ) -> pb.DetokenizeResponse:
        """The text of token ids."""
        model = self._find(message.model if message.HasField("model") else None, record)
        return pb.DetokenizeResponse(text=await detokenize(model, message.ids))

    async def list_models(
        self, message: pb.ListModelsRequest, context: Call, record: RequestRecord
    ) -> pb.ListModelsResponse:
        """The served models."""
        facts = [facts_of(model, self._models) for model in self._models.all]
        return pb.ListModelsResponse(models=[model_message(each) for each in facts])

    async def get_model(
        self, message: pb.GetModelRequest, context: Call, record: RequestRecord
    ) -> pb.GetModelResponse:
        """One model."""
        model = self._models.find(message.id)
        facts = facts_of(model, self._models)
        return pb.GetModelResponse(model=model_message(facts), card=model.folder.card)

    def _find(self, name: str | None, record: RequestRecord) -> ServedModel:
        model = self._models.find(name)
        record.model, record.model_version = model.folder.name, model.folder.version
        return model


def call_deadline(context: Call | PacedContext) -> float | None:
    """The call's own deadline as `time.monotonic` seconds, None where it has none."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
