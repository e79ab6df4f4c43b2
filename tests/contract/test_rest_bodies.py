"""What may come as a body, on every route that reads one: the same verdict everywhere."""

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.contract.live_server import START_SECONDS, Server

JSON = {"content-type": "application/json"}
# A good body of each route that reads one, and its text field.
GOOD: dict[str, dict[str, object]] = {
    "/v1/generate": {"prompt": "x", "max_tokens": 1},
    "/v1/completions": {"prompt": "x", "max_tokens": 1},
    "/v1/tokenize": {"text": "x"},
    "/v1/detokenize": {"ids": [1]},
}
GENERATING = ("/v1/generate", "/v1/completions")
MAX_BODY_BYTES = 2**20


def post_raw(server: Server, path: str, content: Any, **headers: str) -> httpx2.Response:
    return server.post(path, None, content=content, headers={**JSON, **headers})


def error_of(response: httpx2.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["code"]


def padded(path: str, size: int) -> bytes:
    """A good body of so many bytes."""
    body = json.dumps(GOOD[path]).encode()
    return body + b" " * (size - len(body))


MALFORMED = {
    "nothing": b"",
    "an open brace": b"{",
    "no JSON": b"not json",
    "two objects": b"{}{}",
    "a trailing comma": b'{"prompt": "x",}',
    "single quotes": b"{'prompt': 'x'}",
    "a lone surrogate": b'{"prompt": "\\ud800"}',
    "surrogates the wrong way round": b'{"prompt": "\\udc00\\ud800"}',
    "a surrogate as a key": b'{"\\ud800": 1}',
    "bytes that are no UTF-8": b'{"prompt": "\xff"}',
    "overlong UTF-8": b'{"prompt": "\xc0\xaf"}',
    "UTF-16": '{"prompt": "x"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a raw line end in a string": b'{"prompt": "a\nb"}',
    "100,000 open lists": b"[" * 100_000,
    "100,000 open objects": b'{"prompt":' * 100_000,
    "100,000 lists deep inside": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 keys": b"{" + b",".join(b'"%x":0' % key for key in range(100_000)) + b"}",
    "5,000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "5,000 digits after the point": b'{"seed": 0.' + b"9" * 5000 + b"e9999}",
    "1e400": b'{"temperature": 1e400}',
    "NaN": b'{"temperature": NaN}',
    "Infinity": b'{"temperature": -Infinity}',
    "a list": b"[]",
    "a string": b'"text"',
    "null": b"null",
}


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("content", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_bodies_are_invalid_json(server: Server, path: str, content: bytes) -> None:
    """H24, H30, H31."""
    assert error_of(post_raw(server, path, content)) == (400, "invalid_json")


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(
    "content_type",
    [
        *("", "text/plain", "application/xml", "application/json-patch+json", "text/json"),
        *("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"),
    ],
)
def test_only_json_is_read(server: Server, path: str, content_type: str) -> None:
    """H39: refused before parsing, so even a good body is."""
    content = json.dumps(GOOD[path]).encode()
    response = post_raw(server, path, content, **{"content-type": content_type})
    assert error_of(response) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", GOOD)
def test_json_by_any_spelling_of_its_name_is_read(server: Server, path: str) -> None:
    content = json.dumps(GOOD[path]).encode()
    for content_type in ("Application/JSON", "application/json; charset=utf-8"):
        response = post_raw(server, path, content, **{"content-type": content_type})
        assert response.status_code == 200


@pytest.mark.parametrize("path", GOOD)
def test_compressed_bodies_are_refused(server: Server, path: str) -> None:
    """H39, and the bomb of H85: nothing is unpacked."""
    content = gzip.compress(json.dumps(GOOD[path]).encode() + b" " * 10_000_000)
    for encoding in ("gzip", "deflate", "br", "gzip, identity"):
        response = post_raw(server, path, content, **{"content-encoding": encoding})
        assert error_of(response) == (415, "unsupported_media_type")
    plain = post_raw(server, path, padded(path, 100), **{"content-encoding": "identity"})
    assert plain.status_code == 200


@pytest.mark.parametrize("path", GOOD)
def test_other_methods_are_refused_with_and_without_a_body(server: Server, path: str) -> None:
    """H39."""
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        for content in (None, b"{}"):
            response = httpx2.request(
                method, server.rest + path, content=content, headers=JSON, verify=False
            )
            assert error_of(response) == (405, "method_not_allowed")
            assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", GOOD)
def test_a_body_is_read_up_to_the_limit_with_and_without_its_length(
    server: Server, path: str
) -> None:
    """H29."""

    def pieces(body: bytes) -> Iterator[bytes]:
        return (body[start : start + 4096] for start in range(0, len(body), 4096))

    for size, status in ((MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)):
        body = padded(path, size)
        for content in (body, pieces(body)):
            response = post_raw(server, path, content)
            assert response.status_code == status
            if status == 413:
                assert error_of(response) == (413, "request_too_large")


def test_a_body_in_pieces_of_one_byte_is_read_and_bounded(server: Server) -> None:
    """H29: chunks of one byte, one body that is good and one that never ends."""
    host, _, port = server.rest.removeprefix("http://").partition(":")
    head = f"POST /v1/tokenize HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    good = b"".join(b"1\r\n%c\r\n" % byte for byte in padded("/v1/tokenize", 3000))
    with socket.create_connection((host, int(port)), timeout=START_SECONDS) as connection:
        connection.sendall(head.encode() + good + b"0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    with socket.create_connection((host, int(port)), timeout=START_SECONDS) as connection:
        connection.sendall(head.encode() + b"1\r\nx\r\n" * (MAX_BODY_BYTES + 1))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("path", GENERATING)
def test_every_character_but_surrogates_is_text(server: Server, path: str) -> None:
    """H31."""
    prompt = "a\0b\ufffe\uffff\ufeff\u2028\x7f\x1b\U0010ffff"
    response = server.post(path, GOOD[path] | {"prompt": prompt})
    assert response.json()["usage"]["prompt_tokens"] == len(prompt.encode())


@pytest.mark.parametrize("path", GENERATING)
def test_control_tokens_strings_are_text(server: Server, path: str) -> None:
    """H42."""
    response = server.post(path, GOOD[path] | {"prompt": "<|endoftext|>"})
    assert response.json()["usage"]["prompt_tokens"] == len("<|endoftext|>")


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("form", ["text", "ids"])
def test_a_prompt_beyond_the_context_is_refused_with_both_lengths(
    server: Server, path: str, form: str
) -> None:
    """H22, H23: and the next request is served."""
    field = "prompt_ids" if (path, form) == ("/v1/generate", "ids") else "prompt"
    response = server.post(path, {field: "x" * 4097 if form == "text" else [5] * 4097})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        400,
        "context_length_exceeded",
        field,
    )
    assert (error["n_prompt"], error["n_ctx"]) == (4097, 4096)
    assert server.post(path, GOOD[path]).status_code == 200


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(
    ("name", "is_shown"),
    [("nobody", True), ("x" * 64, True), ("x" * 65, False), ("<b>", False), ("a\r\nb: c", False)],
)
def test_an_unknown_model_is_named_only_when_its_name_is_harmless(
    server: Server, path: str, name: str, is_shown: bool
) -> None:
    """H40."""
    response = server.post(path, GOOD[path] | {"model": name})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        404,
        "model_not_found",
        "model",
    )
    assert (name in error["message"]) is is_shown


@pytest.mark.parametrize("path", GOOD)
def test_model_names_are_never_paths(server: Server, path: str) -> None:
    """H7."""
    for name in ("", ".", "..", "../tiny", "tiny/1", "/etc/passwd", "tiny\0", "tiny@", "tiny@../1"):
        assert server.post(path, GOOD[path] | {"model": name}).status_code == 404, name
