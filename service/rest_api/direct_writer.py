"""Parts of a running answer, written straight to its connection.

What wraps an application looks at the head and at the end of an answer; between them each part
would pass through half a dozen coroutines, which cost more than all else that is done for a token.
"""

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["DirectWriter"]


class DirectWriter:
    """The way to the connection of one answer.

    Args:
        cycle: uvicorn's half of it.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    @property
    def is_open(self) -> bool:
        """Whether parts may go this way.

        Else they must go the usual one, which waits for a slow client, and knows answers without
        chunks and clients that have left.
        """
        cycle = self._cycle
        return (
            not cycle.flow.write_paused
            and not cycle.disconnected
            and cycle.chunked_encoding is True
        )

    def write(self, data: bytes) -> None:
        """Write a part that is neither empty nor the last; only while it is open."""
        self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
