"""The load tester's own HTTP: answers in any pieces, connections that servers end."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nextword.bench.http_answer import AnswerReader, Pieces
from nextword.bench.http_connection import HttpConnection
from nextword.errors import ConnectionFailedError, ProtocolError

CHUNKED = (
    b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Some:  thing \r\n\r\n"
    b"5;name=value\r\nhello\r\n0A\r\n\r\n0\r\n\r\n!!!\r\n0\r\nTrailer: x\r\n\r\n"
)
CHUNKED_BODY = b"hello\r\n0\r\n\r\n!!!"
PLAIN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"
ENDLESS = b"HTTP/1.0 200 OK\r\n\r\nup to the end"


def read(parts: list[bytes]) -> tuple[AnswerReader, bytes]:
    pieces: Pieces = []
    reader = AnswerReader(pieces)
    for number, part in enumerate(parts):
        assert not reader.is_whole
        reader.feed(part, float(number))
    assert [at for at, _ in pieces] == sorted(at for at, _ in pieces)
    return reader, b"".join(data for _, data in pieces)


@settings(max_examples=100)
@given(
    st.sampled_from([(CHUNKED, 200, CHUNKED_BODY), (PLAIN, 404, b"none")]),
    st.lists(st.integers(1, 150), max_size=12),
)
def test_an_answer_is_the_same_in_any_pieces(
    answer: tuple[bytes, int, bytes], cuts: list[int]
) -> None:
    data, status, body = answer
    places = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    reader, found = read([data[a:b] for a, b in pairwise(places)])
    assert reader.is_whole
    assert reader.answer is not None
    assert (reader.answer.status, found) == (status, body)


def test_every_single_byte_may_come_alone() -> None:
    reader, found = read([CHUNKED[i : i + 1] for i in range(len(CHUNKED))])
    assert (reader.is_whole, found) == (True, CHUNKED_BODY)
    assert reader.answer is not None
    assert reader.answer.headers["x-some"] == "thing"


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    reader, found = read([ENDLESS])
    assert not reader.is_whole
    assert reader.end()
    assert found == b"up to the end"
    for half in (CHUNKED[:-1], PLAIN[:-1], PLAIN[:10]):
        reader, _ = read([half])
        assert not reader.end()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read([data])


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def exchange(handle: Handler, times: int) -> list[bytes]:
    """The bodies of so many requests on one connection to a server."""

    async def run() -> list[bytes]:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = HttpConnection("127.0.0.1", port=port, encryption=None, url="http://here")
        bodies: list[bytes] = []
        try:
            async with asyncio.timeout(30):
                for _ in range(times):
                    pieces: Pieces = []
                    await connection.exchange(b"POST / HTTP/1.1\r\n\r\n", pieces)
                    bodies.append(b"".join(data for _, data in pieces))
        finally:
            connection.close()
            server.close()
        return bodies

    return asyncio.run(run())


def test_a_connection_that_was_left_while_idle_is_opened_again() -> None:
    accepted: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request, and ends when it sees the second."""
        accepted.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PLAIN)
        if len(accepted) == 1:
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    assert exchange(handle, 3) == [b"none"] * 3
    assert len(accepted) == 3


def test_an_answer_that_breaks_off_is_not_asked_for_again() -> None:
    accepted: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PLAIN)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PLAIN[:-2])
        writer.close()

    with pytest.raises(ConnectionFailedError, match="before the answer was whole"):
        exchange(handle, 2)
    assert len(accepted) == 1


def test_nobody_there_is_a_failed_connection() -> None:
    async def run() -> None:
        await HttpConnection("127.0.0.1", port=1, encryption=None, url="http://x").exchange(b"", [])

    with pytest.raises(ConnectionFailedError, match="nobody answers at http://x"):
        asyncio.run(run())
