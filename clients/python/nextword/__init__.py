"""What programs need to talk to a Nextword server; `nextword.v1` holds the gRPC messages.

Names are loaded when they are first used: the server imports `nextword.v1` and nothing else of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextword.answers import (
        Choice,
        Generation,
        Model,
        RefusedVersion,
        RivalToken,
        Summary,
        TextPiece,
        Timings,
        Token,
        TokenLogprob,
        Usage,
    )
    from nextword.async_client import AsyncClient
    from nextword.chat import AsyncChatStream, ChatMessage, ChatPiece, ChatStream
    from nextword.client import Client
    from nextword.errors import (
        AddressError,
        AuthenticationError,
        ConnectionFailedError,
        DeadlineExceededError,
        InvalidRequestError,
        NextwordError,
        NotFoundError,
        NotPossibleError,
        OverloadedError,
        ProtocolError,
        ServerFaultError,
        StatusError,
        UnavailableError,
    )
    from nextword.glass_box import AsyncGlassBox, GlassBox
    from nextword.glass_box_answers import (
        Attention,
        AttentionMap,
        Resampled,
        TextEmbedding,
        TextInspection,
        TextScore,
        TextToken,
        TokenEmbedding,
        TokenNeighbour,
        TokenSurprise,
    )
    from nextword.inspections import (
        CandidateInspection,
        NgramInspection,
        NgramLevel,
        StageInspection,
        TokenInspection,
        TokenView,
    )
    from nextword.request import InspectionRequest, SamplingParameters
    from nextword.text_stream import AsyncTextStream, TextStream

__all__ = [
    "AddressError",
    "AsyncChatStream",
    "AsyncClient",
    "AsyncGlassBox",
    "AsyncTextStream",
    "Attention",
    "AttentionMap",
    "AuthenticationError",
    "CandidateInspection",
    "ChatMessage",
    "ChatPiece",
    "ChatStream",
    "Choice",
    "Client",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "Generation",
    "GlassBox",
    "InspectionRequest",
    "InvalidRequestError",
    "Model",
    "NextwordError",
    "NgramInspection",
    "NgramLevel",
    "NotFoundError",
    "NotPossibleError",
    "OverloadedError",
    "ProtocolError",
    "RefusedVersion",
    "Resampled",
    "RivalToken",
    "SamplingParameters",
    "ServerFaultError",
    "StageInspection",
    "StatusError",
    "Summary",
    "TextEmbedding",
    "TextInspection",
    "TextPiece",
    "TextScore",
    "TextStream",
    "TextToken",
    "Timings",
    "Token",
    "TokenEmbedding",
    "TokenInspection",
    "TokenLogprob",
    "TokenNeighbour",
    "TokenSurprise",
    "TokenView",
    "UnavailableError",
    "Usage",
]

_MODULES = {
    "Client": "client",
    "AsyncClient": "async_client",
    **dict.fromkeys(("AsyncChatStream", "ChatMessage", "ChatPiece", "ChatStream"), "chat"),
    "TextStream": "text_stream",
    "AsyncTextStream": "text_stream",
    "GlassBox": "glass_box",
    "AsyncGlassBox": "glass_box",
    "InspectionRequest": "request",
    "SamplingParameters": "request",
    **dict.fromkeys(
        (
            "CandidateInspection",
            "NgramInspection",
            "NgramLevel",
            "StageInspection",
            "TokenInspection",
            "TokenView",
        ),
        "inspections",
    ),
    **dict.fromkeys(
        (
            "Attention",
            "AttentionMap",
            "Resampled",
            "TextEmbedding",
            "TextInspection",
            "TextScore",
            "TextToken",
            "TokenEmbedding",
            "TokenNeighbour",
            "TokenSurprise",
        ),
        "glass_box_answers",
    ),
}


def __getattr__(name: str) -> object:
    """Load a public name."""
    if name not in __all__:
        raise AttributeError(f"module 'nextword' has no attribute {name!r}")
    module = _MODULES.get(name, "errors" if name.endswith("Error") else "answers")
    return getattr(import_module(f"nextword.{module}"), name)


def __dir__() -> list[str]:
    return __all__
