"""Chooses what makes a client's calls, by the protocol of its server's URL."""

from nextword.calls import Calls
from nextword.connection import Connection

__all__ = ["calls_of"]


def calls_of(connection: Connection) -> Calls:
    """What makes the calls."""
    # Each protocol's library takes a tenth of a second to import; a program needs one of them.
    match connection.address.protocol:
        case "rest":
            from nextword.rest_calls import RestCalls

            return RestCalls()
        case "grpc":
            from nextword.grpc_calls import GrpcCalls

            return GrpcCalls()
