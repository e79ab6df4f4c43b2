"""Frames in a stream of bytes, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.grpc_transport.frame_cutter import FrameCutter, FrameTooLargeError, NotHttp2Error
from tests.service.grpc_connections import PREFACE, frame

MAX_FRAME_BYTES = 300
GREETING = PREFACE[:24]


def cut(cutter: FrameCutter, data: bytes) -> list[bytes]:
    """What there is once more has come."""
    cutter.feed(data)
    found: list[bytes] = []
    while (each := cutter.next()) is not None:
        found.append(each)
    return found


@given(
    st.lists(
        st.builds(
            frame,
            st.integers(0, 255),
            st.integers(0, 255),
            st.integers(0, 2**32 - 1),
            st.binary(max_size=MAX_FRAME_BYTES),
        ),
        max_size=6,
    ),
    st.lists(st.integers(1, 400), max_size=40),
)
def test_frames_come_whole_however_the_stream_is_cut(frames: list[bytes], cuts: list[int]) -> None:
    cutter = FrameCutter(max_frame_bytes=MAX_FRAME_BYTES)
    stream = GREETING + b"".join(frames)
    found: list[bytes] = []
    for size in cuts:
        found += cut(cutter, stream[:size])
        stream = stream[size:]
    found += cut(cutter, stream)
    assert found == [GREETING, *frames]


def test_a_frame_that_is_too_large_is_told_by_its_head() -> None:
    cutter = FrameCutter(max_frame_bytes=MAX_FRAME_BYTES)
    whole = frame(0, 0, 1, bytes(MAX_FRAME_BYTES))
    assert cut(cutter, GREETING + whole) == [GREETING, whole]
    with pytest.raises(FrameTooLargeError):
        cut(cutter, frame(0, 0, 1, bytes(MAX_FRAME_BYTES + 1))[:9])


@given(st.integers(0, len(GREETING) - 1), st.binary(min_size=1, max_size=30))
def test_what_begins_otherwise_is_told_at_its_first_wrong_byte(right: int, rest: bytes) -> None:
    cutter = FrameCutter(max_frame_bytes=MAX_FRAME_BYTES)
    assert cut(cutter, GREETING[:right]) == []
    if GREETING.startswith(GREETING[:right] + rest):
        assert cut(cutter, rest) in ([], [GREETING])
    elif rest.startswith(GREETING[right:]):
        assert cut(cutter, rest[: len(GREETING) - right]) == [GREETING]
    else:
        with pytest.raises(NotHttp2Error):
            cut(cutter, rest)
