"""HTTP/2 as a server speaks it: h2 knows its states and headers, frames of data are written here.

A frame of data goes past h2 because that costs a fifth; the windows that h2 keeps are kept right.
h2 is given one frame at a time, so that what one of them means is done before the next is read.
Source: RFC 9113.
"""

import logging
import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event
from h2.settings import SettingCodes

from service.grpc_transport.call_head import Headers
from service.grpc_transport.connection_limits import ConnectionLimits
from service.grpc_transport.frame_cutter import FRAME_HEAD_BYTES

__all__ = ["END_STREAM", "MAX_FRAME_BYTES", "NO_STREAM_YET", "FrameKind", "Session", "frame_goaway"]

# hpack writes down every header, keys among them.
logging.getLogger("hpack").setLevel(logging.WARNING)

# Of every client and server, unless they say otherwise; we do not, and send no larger ones.
MAX_FRAME_BYTES = 16 * 1024
# Names the last stream in a GOAWAY that says only that another one will come.
NO_STREAM_YET = 2**31 - 1
# A flag of frames of data and headers.
END_STREAM = 1
_DATA_HEAD = struct.Struct(">BHBBI")
_SETTINGS = struct.Struct(">BHBBIHIHI")
_SETTING = struct.Struct(">HI")
_KNOWN_SETTINGS = frozenset(int(each) for each in SettingCodes)
_TABLE_SIZE = SettingCodes.HEADER_TABLE_SIZE
_ACK = 1
_GOAWAY = struct.Struct(">BHBBIII")
# What h2 allows is above what we announce and judge, because it cuts the whole connection.
_LENIENCE = 4
_ASKED_IN_EARNEST = 256
# What h2 may hold of ours for all calls together, which a call that nobody reads may fill.
_CONNECTION_WINDOW_BYTES = 256 * 1024
_FIRST_WINDOW_BYTES = 65_535
# The client may let us keep more of the headers that we sent; each is searched for at each answer.
_MAX_TABLE_BYTES = 4096


class FrameKind:
    """Types of frames (RFC 9113, 6) that are told apart here."""

    DATA = 0
    HEADERS = 1
    SETTINGS = 4
    GOAWAY = 7
    CONTINUATION = 9


class _H2(H2Connection):
    # It remembers how streams ended, at 100 bytes each.
    MAX_CLOSED_STREAMS = 1024
    _num_asked = 0

    @property
    def open_inbound_streams(self) -> int:
        """Streams of the client that have not ended, or 0.

        h2 asks at the head of each call and looks through all of them, to forget those that have
        ended besides. We count calls ourselves, and forgetting can wait.
        """
        self._num_asked += 1
        return super().open_inbound_streams if self._num_asked % _ASKED_IN_EARNEST == 0 else 0


class Session:
    """The state of one connection; what is to be sent comes out as bytes.

    Args:
        limits: What the client is told.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._h2 = h2 = _H2(H2Configuration(client_side=False, header_encoding=None))
        h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = _LENIENCE * limits.max_calls
        h2.local_settings.acknowledge()
        h2.decoder.max_header_list_size = _LENIENCE * limits.max_header_bytes
        # What it would tell the client are its own, lenient limits.
        h2.initiate_connection()
        h2.clear_outbound_data_buffer()
        h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _FIRST_WINDOW_BYTES)

    @property
    def highest_stream(self) -> int:
        """Of those that the client began."""
        return self._h2.highest_inbound_stream_id

    def greet(self) -> bytes:
        """What comes first."""
        settings = _SETTINGS.pack(
            *(0, 12, FrameKind.SETTINGS, 0, 0),
            *(SettingCodes.MAX_CONCURRENT_STREAMS, self._limits.max_calls),
            *(SettingCodes.MAX_HEADER_LIST_SIZE, self._limits.max_header_bytes),
        )
        return settings + self.to_send()

    def receive(self, frame: bytes) -> list[Event]:
        """What a frame means.

        Args:
            frame: A whole one, or the greeting; no GOAWAY, after which h2 would let no call end.

        Raises:
            h2.exceptions.ProtocolError: It may not come here; the connection must end, and
                `to_send` tells why.
        """
        if frame[3] == FrameKind.SETTINGS and not frame[4] & _ACK:
            frame = _believed_settings(frame)
        return self._h2.receive_data(frame)

    def to_send(self) -> bytes:
        """What h2 has made since this was asked last."""
        return self._h2.data_to_send()

    def acknowledge(self, stream: int, num_bytes: int) -> None:
        """Let the client send so many bytes more."""
        self._h2.acknowledge_received_data(num_bytes, stream)

    def send_headers(self, stream: int, headers: Headers, *, end_stream: bool = False) -> None:
        """Send a head, or trailers."""
        self._h2.send_headers(stream, headers, end_stream=end_stream)

    def reset(self, stream: int, reason: ErrorCodes) -> None:
        """Let the client send no more on a stream, where it still could."""
        own = self._h2.streams.get(stream)
        if own is not None and not own.closed:
            self._h2.reset_stream(stream, reason)

    def ping(self, data: bytes) -> None:
        """Ask whether the client is there.

        Args:
            data: Eight bytes that it will send back.
        """
        self._h2.ping(data)

    def room(self, stream: int) -> int:
        """Bytes that one frame of data may carry now; a window may be below zero."""
        h2 = self._h2
        own = h2.streams[stream].outbound_flow_control_window
        return min(MAX_FRAME_BYTES, h2.outbound_flow_control_window, own)

    def frame_data(self, stream: int, data: bytes | memoryview) -> bytes:
        """A frame of data, for which there is room."""
        h2, length = self._h2, len(data)
        h2.outbound_flow_control_window -= length
        h2.streams[stream].outbound_flow_control_window -= length
        return _DATA_HEAD.pack(length >> 16, length & 0xFFFF, FrameKind.DATA, 0, stream) + data


def _believed_settings(frame: bytes) -> bytes:
    # h2 keeps those that nobody knows, for ever, and makes its table as large as a client likes.
    head, payload = frame[:FRAME_HEAD_BYTES], frame[FRAME_HEAD_BYTES:]
    if len(payload) % _SETTING.size:
        # It may not be, and h2 says so.
        return frame
    known = b"".join(
        _SETTING.pack(code, min(value, _MAX_TABLE_BYTES) if code == _TABLE_SIZE else value)
        for code, value in _SETTING.iter_unpack(payload)
        if code in _KNOWN_SETTINGS
    )
    return len(known).to_bytes(3, "big") + head[3:] + known


def frame_goaway(last_stream: int, reason: ErrorCodes, text: bytes = b"") -> bytes:
    """A frame that tells a client to leave (RFC 9113, 6.8)."""
    head = _GOAWAY.pack(0, 8 + len(text), FrameKind.GOAWAY, 0, 0, last_stream, reason)
    return head + text
