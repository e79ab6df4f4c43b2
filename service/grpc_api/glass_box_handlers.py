"""The six calls of the glass box: message in, core, message out."""

from nextword.v1 import glass_box_pb2 as pb

from service.glass_box.glass_box import GlassBox
from service.grpc_api import glass_box_answers as answers
from service.grpc_api import glass_box_requests as requests
from service.grpc_api.calls import Calls, RpcHandler
from service.grpc_api.handlers import call_deadline
from service.grpc_transport.call import Call
from service.large_answers import encode_answer
from service.request_log import RequestRecord

__all__ = ["GLASS_BOX_SERVICE", "glass_box_methods"]

GLASS_BOX_SERVICE = pb.DESCRIPTOR.services_by_name["GlassBoxService"].full_name


def glass_box_methods(box: GlassBox, calls: Calls) -> dict[str, RpcHandler]:
    """The handlers of GlassBoxService by name.

    Args:
        box: The core.
        calls: Makes handlers of behaviours.
    """

    # Each answer is encoded beside the event loop: some are megabytes.
    async def inspect_text(
        message: pb.InspectTextRequest, context: Call, record: RequestRecord
    ) -> bytes:
        request = requests.read_inspect_request(message, deadline=call_deadline(context))
        answer = await box.inspect_text(request, record)
        return await encode_answer(answer, lambda: answers.encode_inspected(answer))

    async def resample(message: pb.ResampleRequest, context: Call, record: RequestRecord) -> bytes:
        request = requests.read_resample_request(message, deadline=call_deadline(context))
        answer = await box.resample(request, record)
        return await encode_answer(answer, lambda: answers.encode_resampled(answer))

    async def attention(
        message: pb.GetAttentionRequest, context: Call, record: RequestRecord
    ) -> bytes:
        request = requests.read_attention_request(message, deadline=call_deadline(context))
        answer = await box.attention(request, record)
        return await encode_answer(answer, lambda: answers.encode_attention(answer))

    async def embedding(
        message: pb.GetTokenEmbeddingRequest, context: Call, record: RequestRecord
    ) -> bytes:
        request = requests.read_embedding_request(message, deadline=call_deadline(context))
        answer = await box.token_embedding(request, record)
        return await encode_answer(answer, lambda: answers.encode_embedding(answer))

    async def embed_text(
        message: pb.EmbedTextRequest, context: Call, record: RequestRecord
    ) -> bytes:
        request = requests.read_embed_request(message, deadline=call_deadline(context))
        answer = await box.embed_text(request, record)
        return await encode_answer(answer, lambda: answers.encode_text_embedding(answer))

    async def score_text(
        message: pb.ScoreTextRequest, context: Call, record: RequestRecord
    ) -> bytes:
        request = requests.read_score_request(message, deadline=call_deadline(context))
        answer = await box.score_text(request, record)
        return await encode_answer(answer, lambda: answers.encode_scores(answer))

    return {
        "InspectText": calls.unary("InspectText", pb.InspectTextRequest, inspect_text),
        "Resample": calls.unary("Resample", pb.ResampleRequest, resample),
        "GetAttention": calls.unary("GetAttention", pb.GetAttentionRequest, attention),
        "GetTokenEmbedding": calls.unary(
            "GetTokenEmbedding", pb.GetTokenEmbeddingRequest, embedding
        ),
        "EmbedText": calls.unary("EmbedText", pb.EmbedTextRequest, embed_text),
        "ScoreText": calls.unary("ScoreText", pb.ScoreTextRequest, score_text),
    }
