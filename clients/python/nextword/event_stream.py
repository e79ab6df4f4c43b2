"""Server-sent events out of bytes, without a socket: what every reader of a stream shares."""

__all__ = ["EventReader"]


class EventReader:
    """Cuts a stream of bytes into the payloads of its `data:` lines.

    Lines end at line feeds only: U+2028 and U+0085, where Python's own splitting would cut, are
    ordinary characters of a payload. Comments (pings) and other fields are passed over.
    """

    def __init__(self) -> None:
        self._unfinished = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that these bytes complete."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]
