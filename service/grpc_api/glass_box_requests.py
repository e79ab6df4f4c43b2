"""What the glass box's protobuf messages ask, as the core's values."""

from typing import TypeAlias

from nextword.v1 import glass_box_pb2 as pb

from service.glass_box.glass_box_values import (
    AttentionRequest,
    GivenText,
    InspectTextRequest,
    ResampleRequest,
    ScoreRequest,
    TimeLimit,
    TokenEmbeddingRequest,
)
from service.grpc_api.inspection_messages import read_inspect
from service.grpc_api.parameter_messages import read_parameters

__all__ = [
    "read_attention_request",
    "read_embed_request",
    "read_embedding_request",
    "read_inspect_request",
    "read_resample_request",
    "read_score_request",
]

_OfText: TypeAlias = pb.InspectTextRequest | pb.GetAttentionRequest | pb.EmbedTextRequest
_Limited: TypeAlias = (
    _OfText | pb.ResampleRequest | pb.GetTokenEmbeddingRequest | pb.ScoreTextRequest
)


def read_inspect_request(
    message: pb.InspectTextRequest, *, deadline: float | None
) -> InspectTextRequest:
    """What InspectText asks; ``deadline`` is the call's own, in `time.monotonic` seconds."""
    return InspectTextRequest(
        given=_given(message, deadline),
        start=message.start if message.HasField("start") else None,
        end=message.end if message.HasField("end") else None,
        num_prompt_tokens=(
            message.num_prompt_tokens if message.HasField("num_prompt_tokens") else None
        ),
        choice_index=message.choice_index if message.HasField("choice_index") else None,
        parameters=read_parameters(message.parameters),
        inspect=read_inspect(message.inspect),
    )


def read_resample_request(
    message: pb.ResampleRequest, *, deadline: float | None
) -> ResampleRequest:
    """What Resample asks."""
    return ResampleRequest(
        model=message.model if message.HasField("model") else None,
        logits=message.logits,
        ids=tuple(message.ids.ids),
        num_prompt_tokens=(
            message.num_prompt_tokens if message.HasField("num_prompt_tokens") else None
        ),
        choice_index=message.choice_index if message.HasField("choice_index") else None,
        parameters=tuple(read_parameters(each) for each in message.parameters),
        inspect=read_inspect(message.inspect),
        limit=_limit(message, deadline),
    )


def read_attention_request(
    message: pb.GetAttentionRequest, *, deadline: float | None
) -> AttentionRequest:
    """What GetAttention asks."""
    return AttentionRequest(
        given=_given(message, deadline),
        layers=tuple(message.layers) or None,
        heads=tuple(message.heads) or None,
        start=message.start if message.HasField("start") else None,
        end=message.end if message.HasField("end") else None,
    )


def read_embedding_request(
    message: pb.GetTokenEmbeddingRequest, *, deadline: float | None
) -> TokenEmbeddingRequest:
    """What GetTokenEmbedding asks."""
    token = message.WhichOneof("token")
    return TokenEmbeddingRequest(
        model=message.model if message.HasField("model") else None,
        id=message.id if token == "id" else None,
        text=message.text if token == "text" else None,
        neighbours=message.neighbours if message.HasField("neighbours") else None,
        limit=_limit(message, deadline),
    )


def read_embed_request(message: pb.EmbedTextRequest, *, deadline: float | None) -> GivenText:
    """What EmbedText asks."""
    return _given(message, deadline)


def read_score_request(message: pb.ScoreTextRequest, *, deadline: float | None) -> ScoreRequest:
    """What ScoreText asks."""
    given = message.WhichOneof("input")
    return ScoreRequest(
        given=GivenText(
            model=message.model if message.HasField("model") else None,
            text=message.text if given == "text" else None,
            ids=tuple(message.ids.ids) if given == "ids" else None,
            limit=_limit(message, deadline),
        ),
        side_by_side=message.side_by_side,
        token_surprises=message.token_surprises,
    )


def _given(message: _OfText, deadline: float | None) -> GivenText:
    given = message.WhichOneof("input")
    return GivenText(
        model=message.model if message.HasField("model") else None,
        text=message.text if given == "text" else None,
        ids=tuple(message.ids.ids) if given == "ids" else None,
        parse_special_tokens=message.parse_special_tokens,
        limit=_limit(message, deadline),
    )


def _limit(message: _Limited, deadline: float | None) -> TimeLimit:
    return TimeLimit(
        timeout_seconds=message.timeout_seconds if message.HasField("timeout_seconds") else None,
        deadline=deadline,
    )
