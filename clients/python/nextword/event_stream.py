"""Server-sent events out of bytes, without a socket: what every reader of a stream shares."""

from nextword.errors import ProtocolError

__all__ = ["MAX_LINE_BYTES", "EventReader"]

# The longest are the logits of whole vocabularies; without an end a line would take all memory.
MAX_LINE_BYTES = 64 << 20


class EventReader:
    """Cuts a stream of bytes into the payloads of its `data:` lines.

    Lines end at line feeds only: U+2028 and U+0085, where Python's own splitting would cut, are
    ordinary characters of a payload. Comments (pings) and other fields are passed over.
    """

    def __init__(self) -> None:
        self._unfinished: list[bytes] = []
        self._num_unfinished_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that these bytes complete.

        Raises:
            ProtocolError: A line has become too long.
        """
        first, *following = data.split(b"\n")
        # Joined once a line is whole: a long one comes in thousands of pieces.
        self._unfinished.append(first)
        self._num_unfinished_bytes += len(first)
        if self._num_unfinished_bytes > MAX_LINE_BYTES:
            raise ProtocolError(f"a line of the stream is longer than {MAX_LINE_BYTES} bytes")
        if not following:
            return []
        *lines, last = (b"".join(self._unfinished), *following)
        self._unfinished, self._num_unfinished_bytes = [last], len(last)
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]
