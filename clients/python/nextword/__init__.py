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
    from nextword.client import Client, TextStream
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
    from nextword.request import SamplingParameters

__all__ = [
    "AddressError",
    "AuthenticationError",
    "Choice",
    "Client",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "Generation",
    "InvalidRequestError",
    "Model",
    "NextwordError",
    "NotFoundError",
    "NotPossibleError",
    "OverloadedError",
    "ProtocolError",
    "RefusedVersion",
    "RivalToken",
    "SamplingParameters",
    "ServerFaultError",
    "StatusError",
    "Summary",
    "TextPiece",
    "TextStream",
    "Timings",
    "Token",
    "TokenLogprob",
    "UnavailableError",
    "Usage",
]


def __getattr__(name: str) -> object:
    """Load a public name."""
    if name not in __all__:
        raise AttributeError(f"module 'nextword' has no attribute {name!r}")
    match name:
        case "Client" | "TextStream":
            module = "nextword.client"
        case "SamplingParameters":
            module = "nextword.request"
        case _:
            module = "nextword.errors" if name.endswith("Error") else "nextword.answers"
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return __all__
