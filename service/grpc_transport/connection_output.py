"""What goes to one client: bytes of HTTP/2 that are ready, and data as windows and socket allow."""

import asyncio
from collections.abc import Iterable

from service.grpc_transport.call_head import Headers
from service.grpc_transport.session import Session

__all__ = ["ConnectionOutput"]

# Of what waits for the socket; above, nothing more is made.
_WRITE_BUFFER_BYTES = 64 * 1024
# Of that and of answers to frames, which nobody holds back; above, no more frames are read.
_FULL_BYTES = 4 * _WRITE_BUFFER_BYTES


class ConnectionOutput:
    """The connection's half of its calls, a `service.grpc_transport.call.Sender`.

    Args:
        session: Knows the windows.
        transport: Takes the bytes.

    Attributes:
        is_paused: Whether the socket takes no more.
        num_sent: Frames of data that went out, and ends of calls.
    """

    def __init__(self, session: Session, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        self.is_paused = False
        self.num_sent = 0
        self._session = session
        self._transport = transport
        self._write = transport.write
        # Streams of which something waits for room, the one that waits longest first.
        self._held_back: dict[int, None] = {}

    @property
    def is_full(self) -> bool:
        """Whether the client reads so little that it should not be heard either."""
        return self.is_paused and self._transport.get_write_buffer_size() > _FULL_BYTES

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is closed."""
        if not self._transport.is_closing():
            self._write(data)

    def flush(self) -> None:
        """Send what the session has made."""
        if data := self._session.to_send():
            self.write(data)

    def acknowledge(self, stream: int, num_bytes: int) -> None:
        """Let the client send so many bytes more."""
        if not self._transport.is_closing():
            self._session.acknowledge(stream, num_bytes)
            self.flush()

    def send_head(self, stream: int, headers: Headers) -> None:
        """Send a head."""
        self._session.send_headers(stream, headers)
        self.flush()

    def put(self, stream: int, data: bytes | memoryview) -> int:
        """Send as much of the beginning of some data as may be sent now; how much that was."""
        num_sent, num_bytes = 0, len(data)
        # The socket pauses us while we write.
        while num_sent < num_bytes and not self.is_paused and not self._transport.is_closing():
            room = self._session.room(stream)
            if room <= 0:
                break
            part = data[num_sent : num_sent + room]
            self._write(self._session.frame_data(stream, part))
            self.num_sent += 1
            num_sent += len(part)
        if num_sent < num_bytes:
            self._held_back[stream] = None
        return num_sent

    def forget(self, stream: int) -> None:
        """Nothing of a stream waits any more."""
        self._held_back.pop(stream, None)

    def take_held_back(self, stream: int) -> Iterable[int]:
        """Streams that may try again, now that there is room.

        Args:
            stream: Of which there is; 0 stands for all.
        """
        if self.is_paused or not self._held_back:
            return ()
        if not stream:
            streams, self._held_back = self._held_back, {}
            return streams
        if stream not in self._held_back:
            return ()
        del self._held_back[stream]
        return (stream,)
