"""HTTP/1.1 for a load test: one connection, one exchange at a time, the body kept as it came.

It knows no events and no JSON.
"""

import asyncio
import ssl
import time

from nextword.bench.http_answer import Answer, AnswerReader, Pieces
from nextword.errors import ConnectionFailedError, ProtocolError

__all__ = ["HttpConnection"]

CONNECT_SECONDS = 10.0


class HttpConnection:
    """A connection that is opened when it is needed, and kept while the server keeps it.

    Args:
        host: Name or number of the machine.
        port: Its port.
        encryption: What verifies the server; None is without TLS.
        url: How errors name the server.
    """

    def __init__(
        self, host: str, *, port: int, encryption: ssl.SSLContext | None, url: str
    ) -> None:
        self._place = (host, port)
        self._encryption = encryption
        self._url = url
        self._wire: _Wire | None = None

    async def exchange(self, request: bytes, pieces: Pieces) -> Answer:
        """Send a request and wait for the whole answer; its body grows in `pieces`.

        Raises:
            ConnectionFailedError: Nobody answers, or the connection broke.
            ProtocolError: What comes is no HTTP.
        """
        if self._wire is not None and self._wire.is_open:
            try:
                return await self._exchange(self._wire, request, pieces)
            except ConnectionFailedError:
                # A server may end an idle connection just when the next request is on its way.
                if self._wire.has_answered:
                    raise
        self._wire = await self._connect()
        return await self._exchange(self._wire, request, pieces)

    def close(self) -> None:
        """Leave; a request that runs is broken off."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def _connect(self) -> "_Wire":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, wire = await loop.create_connection(
                    lambda: _Wire(self._url), *self._place, ssl=self._encryption
                )
        except TimeoutError:
            raise ConnectionFailedError(
                f"nobody answers at {self._url}: no answer in {CONNECT_SECONDS:g} seconds"
            ) from None
        except OSError as error:
            raise ConnectionFailedError(f"nobody answers at {self._url}: {error}") from None
        return wire

    async def _exchange(self, wire: "_Wire", request: bytes, pieces: Pieces) -> Answer:
        is_whole = False
        try:
            answer = await wire.send(request, pieces)
            is_whole = answer.headers.get("connection", "").lower() != "close"
            return answer
        finally:
            # Half an answer left on it would be taken for the next one.
            if not is_whole:
                wire.close()


class _Wire(asyncio.Protocol):
    """One connection from its beginning to its end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader([])
        self._ended: asyncio.Future[Answer] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def has_answered(self) -> bool:
        """Whether anything came since the last request."""
        return self._reader.is_begun

    async def send(self, request: bytes, pieces: Pieces) -> Answer:
        """Send a request and wait for its answer's end."""
        assert self._transport is not None
        self._ended = asyncio.get_running_loop().create_future()
        self._reader = AnswerReader(pieces)
        self._transport.write(request)
        return await self._ended

    def close(self) -> None:
        """Leave at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        now = time.perf_counter()
        ended, reader = self._ended, self._reader
        if ended is None or ended.done():
            # What nobody asked for: the next answer could not be told from it.
            self.close()
            return
        try:
            reader.feed(data, now)
        except ProtocolError as error:
            ended.set_exception(error)
            self.close()
        else:
            if reader.is_whole and reader.answer is not None:
                ended.set_result(reader.answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended; that is how a body without a length ends."""
        self._transport = None
        if self._ended is None or self._ended.done():
            return
        if exc is None and self._reader.end() and self._reader.answer is not None:
            self._ended.set_result(self._reader.answer)
            return
        reason = str(exc) if exc is not None else "it was closed before the answer was whole"
        self._ended.set_exception(
            ConnectionFailedError(f"the connection to {self._url} broke: {reason}")
        )
