"""Headers of gRPC calls, and of their answers."""

import base64

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.grpc_transport.call_head import (
    CallHeadError,
    encode_metadata,
    encode_status,
    read_call_head,
)

HEAD = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/C"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc+proto"),
]


def test_a_head_tells_method_metadata_timeout_and_compression() -> None:
    head = read_call_head(
        [*HEAD, (b"grpc-timeout", b"1500m"), (b"grpc-encoding", b"gzip"), (b"x-id", b"1")]
    )
    assert (head.method, head.timeout_seconds, head.encoding) == ("/a.B/C", 1.5, "gzip")
    assert head.metadata == (("x-id", "1"),)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"2H", 7200), (b"3M", 180), (b"4S", 4), (b"5u", 5e-6), (b"99999999n", 0.099999999)],
)
def test_a_timeout_has_a_unit(value: bytes, seconds: float) -> None:
    found = read_call_head([*HEAD, (b"grpc-timeout", value)]).timeout_seconds
    assert found == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"5", b"S", b"-1S", b"999999999S", b"1.5S", b"1D"])
def test_a_timeout_that_is_none_is_no_call(value: bytes) -> None:
    with pytest.raises(CallHeadError) as error:
        read_call_head([*HEAD, (b"grpc-timeout", value)])
    assert error.value.http_status == 400


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (b":method", b"GET", 405),
        (b"content-type", b"application/json", 415),
        (b"content-type", b"application/grpcx", 415),
    ],
)
def test_what_is_no_grpc_call_has_a_status_of_http(name: bytes, value: bytes, status: int) -> None:
    headers = [(key, value if key == name else given) for key, given in HEAD]
    with pytest.raises(CallHeadError) as error:
        read_call_head(headers)
    assert error.value.http_status == status


@given(st.binary(max_size=40))
def test_binary_metadata_survives_with_padding_and_without(value: bytes) -> None:
    ((name, sent),) = encode_metadata((("a-bin", value),))
    for each in (sent, base64.b64encode(value)):
        assert read_call_head([*HEAD, (name, each)]).metadata == (("a-bin", value),)


def test_a_status_says_its_number_and_its_message_in_ascii() -> None:
    trailers = encode_status(grpc.StatusCode.NOT_FOUND, "100 % caf\u00e9\n", (("k", "v"),))
    assert trailers == [
        (b"grpc-status", b"5"),
        (b"grpc-message", b"100 %25 caf%C3%A9%0A"),
        (b"k", b"v"),
    ]
    assert encode_status(grpc.StatusCode.OK, "") == [(b"grpc-status", b"0")]
