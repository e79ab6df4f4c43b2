"""HTTP/1.1's answers out of bytes, without a socket: the head, and the body's pieces as they came.

Nothing is read but where the head, the chunks and the end are: it runs beside the server that is
measured, once for each token.
"""

import re
from dataclasses import dataclass

from nextword.errors import ProtocolError

__all__ = ["Answer", "AnswerReader", "Pieces"]

MAX_HEAD_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |$)")

# When bytes of a body came, by `time.perf_counter`, and the bytes.
Pieces = list[tuple[float, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]


class AnswerReader:
    """Reads one answer.

    Args:
        pieces: Gets the pieces of the body.

    Attributes:
        answer: Its head, as soon as it is whole.
        is_begun: Whether any byte has come.
        is_whole: Whether it has ended.
    """

    def __init__(self, pieces: Pieces) -> None:
        self.answer: Answer | None = None
        self.is_begun = False
        self.is_whole: bool = False
        self._pieces = pieces
        # Bytes of a head or of a chunk's length that are not whole yet.
        self._unread = b""
        # What comes yet of a chunk and its line end, or of a body; below 0 until the connection
        # ends.
        self._missing: int = 0
        self._is_chunked = False
        self._is_last_chunk_read = False

    def feed(self, data: bytes, now: float) -> None:
        """Read bytes that came just now.

        Raises:
            ProtocolError: They are no HTTP.
        """
        self.is_begun = True
        if self._is_chunked:
            self._read_chunks(data, now)
        elif self.answer is None:
            self._read_head(data, now)
        else:
            self._read_plain(data, now)

    def end(self) -> bool:
        """The connection has ended: whether the answer is whole by that."""
        self.is_whole = self.is_whole or self._missing < 0
        return self.is_whole

    def _read_head(self, data: bytes, now: float) -> None:
        self._unread += data
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            if len(self._unread) > MAX_HEAD_BYTES:
                raise ProtocolError(f"the head of an answer is above {MAX_HEAD_BYTES} bytes")
            return
        head, rest = self._unread[:end], self._unread[end + 4 :]
        self._unread = b""
        answer = _read_head(head)
        if answer.status < 200:
            # Such as 103: the real one follows.
            if rest:
                self._read_head(rest, now)
            return
        self.answer = answer
        length = answer.headers.get("content-length")
        self._is_chunked = answer.headers.get("transfer-encoding", "").lower() == "chunked"
        if self._is_chunked:
            self._read_chunks(rest, now)
            return
        if length is not None and not length.isdecimal():
            raise ProtocolError(f"the server's Content-Length is no number: {length[:80]!r}")
        self._missing = -1 if length is None else int(length)
        self._read_plain(rest, now)

    def _read_plain(self, data: bytes, now: float) -> None:
        if data:
            self._pieces.append((now, data))
        if self._missing >= 0:
            self._missing -= len(data)
            if self._missing < 0:
                raise ProtocolError("the server sent more than its Content-Length")
            if self._missing == 0:
                self.is_whole = True

    def _read_chunks(self, data: bytes, now: float) -> None:
        if self._unread:
            data = self._unread + data
            self._unread = b""
        place, size = 0, len(data)
        while place < size:
            if self._missing:
                # The last two bytes of what is missing are the line end behind the chunk.
                stop = min(place + self._missing, size)
                text_stop = min(place + self._missing - 2, size)
                if text_stop > place:
                    self._pieces.append((now, data[place:text_stop]))
                self._missing -= stop - place
                place = stop
                continue
            end = data.find(b"\r\n", place)
            if end < 0:
                self._unread = data[place:]
                if len(self._unread) > MAX_HEAD_BYTES:
                    raise ProtocolError(f"a chunk's length is above {MAX_HEAD_BYTES} bytes long")
                return
            line = data[place:end]
            place = end + 2
            if self._is_last_chunk_read:
                # Trailers, up to an empty line.
                if not line:
                    if place != size:
                        raise ProtocolError("the server sent more than its last chunk")
                    self.is_whole = True
                continue
            try:
                length = int(line.partition(b";")[0], 16)
            except ValueError:
                raise ProtocolError(f"a chunk's length is no number: {line[:80]!r}") from None
            if length > 0:
                self._missing = length + 2
            elif length == 0:
                self._is_last_chunk_read = True
            else:
                raise ProtocolError(f"a chunk's length is no number: {line[:80]!r}")


def _read_head(head: bytes) -> Answer:
    first, *lines = head.split(b"\r\n")
    status = _STATUS.match(first)
    if status is None:
        raise ProtocolError(f"the server does not speak HTTP/1.1: {first[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    return Answer(int(status.group(1)), headers)
