"""Requests that are too large, ambiguous or out of turn: refused before anybody reads them."""

from collections.abc import Iterator

import pytest

from tests.service.http_connections import GET, WAIT, RunningServer, Stage, head


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (head(b"A: " + b"x" * 65536), 431, "headers_too_large"),
        (head(*[b"A: b"] * 1000), 431, "headers_too_large"),
        (head(path=b"/" + b"x" * 65536), 414, "url_too_long"),
        (b"GET /" + b"x" * 10_000, 414, "url_too_long"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000, 431, "headers_too_large"),
    ],
    ids=["one header", "many headers", "url", "unfinished url", "unfinished header"],
)
def test_a_head_beyond_its_limits_is_refused(
    stage: Stage, request_bytes: bytes, status: int, code: str
) -> None:
    """H82."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(request_bytes)
        assert await connection.error_code() == (status, code)
        assert await connection.is_ended()
        assert server.refusals[-1] == code

    stage.play(scenario)


def test_a_head_at_its_limits_is_served(stage: Stage) -> None:
    """H82: 127 headers beside Host, a URL of 8 KiB."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(head(*[b"A: b"] * 127, path=b"/" + b"x" * 8191))
        assert (await connection.answer())[0] == 200

    stage.play(scenario)


@pytest.mark.parametrize(
    "request_bytes",
    [
        head(b"Content-Length: 4", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n",
        head(b"Content-Length: 1", b"Content-Length: 2", method=b"POST") + b"ab",
        head(b"Content-Length: +1", method=b"POST") + b"a",
        head(b"Content-Length: 1, 1", method=b"POST") + b"a",
        head(b"Content-Length: -1", method=b"POST"),
        head(b"Transfer-Encoding: chunked, identity", method=b"POST") + b"0\r\n\r\n",
        head(b"Transfer-Encoding: xchunked", method=b"POST") + b"0\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        head(b"A : b"),
        head(b"A: b\0c"),
        head(b": b"),
        b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        head(b"Host: y"),
        b"GET / HTTP/1.1\r\nHost: a/health?x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        head(b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 3", method=b"POST")
        + b"abc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(
    stage: Stage, request_bytes: bytes
) -> None:
    """H9, H91."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(request_bytes)
        assert await connection.error_code() == (400, "invalid_http")
        assert await connection.is_ended()

    stage.play(scenario)


@pytest.mark.parametrize(
    "body",
    [
        b"4\r\nabcdef\r\n0\r\n\r\n",
        b"zz\r\n",
        b"-1\r\n",
        b"4\nabcd\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n",
    ],
)
def test_a_body_whose_chunks_are_wrong_is_refused(stage: Stage, body: bytes) -> None:
    """H91."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        request = head(b"Transfer-Encoding: chunked", path=b"/echo", method=b"POST")
        await connection.send(request)
        await connection.send(body)
        assert await connection.error_code() == (400, "invalid_http")
        assert await connection.is_ended()

    stage.play(scenario)


def test_trailers_change_nothing_and_are_bounded(stage: Stage) -> None:
    """H82, H91: a trailer is no header, and an endless one no way around the limits."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        request = head(b"Transfer-Encoding: chunked", path=b"/echo", method=b"POST")
        await connection.send(request + b"3\r\nabc\r\n0\r\nX-Request-Id: forged\r\n\r\n")
        _, headers, body = await connection.answer()
        assert (headers["x-request-id"] == "forged", body) == (False, b"3")
        await connection.send(request + b"3\r\nabc\r\n0\r\nA: ")
        await connection.send(b"x" * 100_000)
        assert await connection.error_code() == (431, "headers_too_large")

    stage.play(scenario)


def test_a_second_request_waits_for_the_answer_to_the_first(stage: Stage) -> None:
    """What a client sends ahead is not read: it could hide that the client has left (H66)."""

    async def scenario(server: RunningServer) -> None:
        before = server.application.num_left
        connection = await server.connect()
        await connection.send(GET + GET)
        _, headers, _ = await connection.answer()
        assert headers["connection"] == "close"
        assert await connection.is_ended()
        ahead = await server.connect()
        await ahead.send(WAIT + GET + GET)
        await ahead.send(b"x" * 100_000)
        ahead.reset()
        await server.application.wait_until(lambda: server.application.num_left == before + 1)

    stage.play(scenario)


def test_an_upgrade_is_ignored_and_the_request_answered(stage: Stage) -> None:
    """H11."""

    async def scenario(server: RunningServer) -> None:
        connection = await server.connect()
        await connection.send(head(b"Connection: Upgrade", b"Upgrade: websocket") + b"\x81\x00")
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (200, "close")

    stage.play(scenario)
