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

    def write(self, data: bytes) -> bool:
        """Write a part that is neither empty nor the last.

        Returns:
            Whether it was written. Else it must go the usual way, which waits for a slow client,
            and knows answers without chunks and clients that have left.
        """
        cycle = self._cycle
        if (
            cycle.flow.write_paused
            or cycle.disconnected
            or not cycle.chunked_encoding
            or cycle.response_complete
        ):
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True
