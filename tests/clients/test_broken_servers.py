"""Servers that stall, break off or talk nonsense: the right error in time, what came is kept."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nextword import (
    Client,
    ConnectionFailedError,
    DeadlineExceededError,
    NextwordError,
    NotFoundError,
    ProtocolError,
    ServerFaultError,
)
from nextword.event_stream import MAX_LINE_BYTES, EventReader

from tests.clients.conftest import Serve

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(body: bytes, *, status: str = "200 OK") -> Sequence[bytes]:
    length = len(body)
    return [f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n".encode() + body]


PIECE = {"index": 0, "text": "some", "token_ids": [1, 2]}


def read(url: str, *, timeout_seconds: float = 30.0) -> tuple[str, NextwordError | None]:
    """The text that came, and the error that ended it."""
    text = ""
    with Client(url) as client, client.stream("x", timeout_seconds=timeout_seconds) as stream:
        try:
            for piece in stream:
                text += piece.text
        except NextwordError as error:
            return text, error
    return text, None


def test_a_stream_that_breaks_off_keeps_what_came(serve: Serve) -> None:
    text, error = read(serve([HEAD, chunk(event(PIECE)), chunk(b'data: {"index": 0, "te')]))
    assert text == "some"
    assert isinstance(error, ConnectionFailedError)


def test_a_stream_without_its_end_is_no_success(serve: Serve) -> None:
    text, error = read(serve([HEAD, chunk(event(PIECE)), chunk(b"")]))
    assert text == "some"
    assert isinstance(error, ProtocolError)


def test_an_error_in_the_stream_has_the_class_of_its_code(serve: Serve) -> None:
    """H71."""
    told = {"error": {"message": "no", "type": "server_error", "param": None, "code": "x"}}
    told["error"]["code"] = "numerical_error"
    text, error = read(serve([HEAD, chunk(event(PIECE)), chunk(event(told)), chunk(b"")]))
    assert text == "some"
    assert isinstance(error, ServerFaultError)
    assert (error.code, error.status) == ("numerical_error", 500)


def test_a_server_that_says_nothing_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextword.rest_calls.GRACE_SECONDS", 0.1)
    url = serve([HEAD, chunk(event(PIECE))], is_silent=True)
    text, error = read(url, timeout_seconds=0.1)
    assert text == "some"
    assert isinstance(error, DeadlineExceededError)


def test_a_call_to_a_server_that_says_nothing_is_given_up(serve: Serve) -> None:
    url = serve([], is_silent=True)
    with Client(url, timeout_seconds=0.1) as client, pytest.raises(DeadlineExceededError):
        client.list_models()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"data: no json\n\n",
        b"data: [1, 2]\n\n",
        event({"index": 0}),
        event({**PIECE, "token_ids": "12"}),
        event({**PIECE, "token_ids": [1.5]}),
        event({**PIECE, "text": None}),
        event({**PIECE, "usage": {"prompt_tokens": 1}}),
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_nonsense_in_a_stream_is_a_protocol_error(serve: Serve, nonsense: bytes) -> None:
    text, error = read(serve([HEAD, chunk(event(PIECE)), chunk(nonsense)]))
    assert text == "some"
    assert isinstance(error, ProtocolError)
    assert len(str(error)) < 200


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data": [1]}', b'{"data": [{"id": 5}]}'])
def test_nonsense_in_an_answer_is_a_protocol_error(serve: Serve, body: bytes) -> None:
    with Client(serve(answer(body))) as client, pytest.raises(ProtocolError):
        client.list_models()


def test_what_is_no_http_at_all_is_a_failed_connection(serve: Serve) -> None:
    url = serve([b"SSH-2.0-OpenSSH_9.9\r\n"])
    with Client(url) as client, pytest.raises(ConnectionFailedError):
        client.list_models()


def test_a_server_without_tls_is_no_https_server(serve: Serve) -> None:
    url = serve(answer(b'{"data": []}')).replace("http://", "https://")
    with (
        Client(url, timeout_seconds=1.0, max_retries=0) as client,
        pytest.raises(ConnectionFailedError),
    ):
        client.list_models()


def test_a_grpc_server_of_another_kind_is_told_from_ours() -> None:
    other = grpc.server(ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    url = f"grpc://127.0.0.1:{port}"
    try:
        with Client(url) as client, pytest.raises(NotFoundError) as caught:
            client.list_models()
        assert caught.value.code == "unimplemented"
    finally:
        other.stop(None).wait()


def test_line_separators_in_a_text_do_not_cut_its_event(serve: Serve) -> None:
    """U+2028, U+0085 and their kind end a line for Python, not for an event stream."""
    odd = "a\u2028b\u2029c\x85d\x0be\x1cf"
    text, _ = read(serve([HEAD, chunk(event({**PIECE, "text": odd})), chunk(b"")]))
    assert text == odd


@settings(max_examples=25)
@given(
    payloads=st.lists(st.text(min_size=1).map(lambda text: json.dumps([text]).encode())),
    sizes=st.lists(st.integers(1, 20)),
)
def test_events_survive_any_cut(payloads: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(b": ping\n\ndata: " + payload + b"\n\n" for payload in payloads)
    reader, found = EventReader(), list[bytes]()
    for size in sizes:
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found + reader.feed(stream) == payloads


def test_a_line_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LINE_BYTES >= 64 << 20
    monkeypatch.setattr("nextword.event_stream.MAX_LINE_BYTES", 100)
    reader = EventReader()
    assert reader.feed(b"data: " + b"x" * 94) == []
    assert reader.feed(b"\n: ping") == [b"x" * 94]
    with pytest.raises(ProtocolError, match="longer than 100 bytes"):
        reader.feed(b"x" * 100)
