"""Cuts what a client sends into frames of HTTP/2, one at a time.

Sources: RFC 9113, 3.4 (the greeting), 4.1 and 4.2 (frames and their sizes).
"""

__all__ = ["FRAME_HEAD_BYTES", "FrameCutter", "FrameTooLargeError", "NotHttp2Error"]

FRAME_HEAD_BYTES = 9
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class NotHttp2Error(Exception):
    """A client that does not begin as one of HTTP/2 does."""


class FrameTooLargeError(Exception):
    """A frame above the size that is allowed; told by its first bytes, before the rest is kept."""


class FrameCutter:
    """Bytes in, frames out.

    Args:
        max_frame_bytes: Of what a frame carries.
    """

    def __init__(self, *, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._received = bytearray()
        self._has_greeted = False

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self._received += data

    def next(self) -> bytes | None:
        """The greeting at first, then each frame whole; None where none is.

        Raises:
            NotHttp2Error: It is not the greeting that comes first.
            FrameTooLargeError: The next frame is too large.
        """
        received = self._received
        if not self._has_greeted:
            if not _GREETING.startswith(received[: len(_GREETING)]):
                raise NotHttp2Error
            if len(received) < len(_GREETING):
                return None
            self._has_greeted = True
            return self._cut(len(_GREETING))
        if len(received) < FRAME_HEAD_BYTES:
            return None
        length = int.from_bytes(received[:3], "big")
        if length > self._max_frame_bytes:
            raise FrameTooLargeError
        end = FRAME_HEAD_BYTES + length
        return None if len(received) < end else self._cut(end)

    def clear(self) -> None:
        """Forget what came: nobody reads it any more."""
        self._received.clear()

    def _cut(self, num_bytes: int) -> bytes:
        frame = bytes(self._received[:num_bytes])
        del self._received[:num_bytes]
        return frame
