"""What HTTP/2's state is given, and what it makes of what a client says of itself."""

import hpack
import pytest
from h2.errors import ErrorCodes
from h2.events import RemoteSettingsChanged

from service.grpc_transport.connection_limits import ConnectionLimits
from service.grpc_transport.session import Session
from tests.service.grpc_connections import PREFACE, frame, headers_frame
from tests.service.raw_http2 import SETTINGS, settings

HEADER_TABLE_SIZE = 1
GREETING = PREFACE[:24]


@pytest.fixture
def session() -> Session:
    """A connection that was greeted."""
    session = Session(ConnectionLimits())
    session.greet()
    session.receive(GREETING)
    return session


def test_settings_that_nobody_knows_are_dropped(session: Session) -> None:
    """h2 keeps each for as long as the connection lives."""
    payload = b"".join(code.to_bytes(2, "big") + bytes(4) for code in range(7, 2000))
    events = session.receive(frame(SETTINGS, 0, 0, payload + b"\0\x05\0\0\x80\0"))
    changed = [each for each in events if isinstance(each, RemoteSettingsChanged)]
    assert [int(code) for each in changed for code in each.changed_settings] == [8, 5]


def test_a_client_with_a_large_table_gets_headers_for_a_small_one(session: Session) -> None:
    """Each answer is looked up in the table."""
    session.receive(settings(HEADER_TABLE_SIZE, 2**20))
    session.to_send()
    decoder = hpack.Decoder()
    for stream in range(1, 1001, 2):
        session.receive(headers_frame(stream, "X", is_last=True))
        session.send_headers(stream, [(b":status", b"200"), (b"x-id", b"%d" % stream)])
        decoder.decode(session.to_send()[9:])
    assert decoder.header_table_size == 4096


@pytest.mark.parametrize("is_last", [False, True])
def test_a_stream_that_is_over_is_not_reset(session: Session, is_last: bool) -> None:
    session.receive(headers_frame(1, "X", is_last=is_last))
    session.send_headers(1, [(b":status", b"415")], end_stream=True)
    session.to_send()
    session.reset(1, ErrorCodes.NO_ERROR)
    assert bool(session.to_send()) is not is_last
