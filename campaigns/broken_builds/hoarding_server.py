"""A server that keeps every stream, and is deaf to its clients' answers to pings: for the soak."""

import sys

from service.grpc_transport.connection_times import ConnectionTimes
from service.main import main
from service.token_stream import TokenStream

_KEPT: list[TokenStream] = []


def keep_streams() -> None:
    """Let no stream go."""
    build = TokenStream.__init__

    def altered(self: TokenStream, *positional: object, **named: object) -> None:
        build(self, *positional, **named)  # pyright: ignore[reportArgumentType]
        _KEPT.append(self)

    TokenStream.__init__ = altered


def hear_no_answers() -> None:
    """Take silence for absence, whatever has come meanwhile."""

    def altered(self: ConnectionTimes) -> None:
        del self

    ConnectionTimes.note_heard = altered


if __name__ == "__main__":
    keep_streams()
    hear_no_answers()
    sys.exit(main())
