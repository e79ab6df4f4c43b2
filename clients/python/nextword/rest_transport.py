"""A server over REST: one pool of connections; leaving a stream early closes its connection."""

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar, cast

import httpx2

from nextword.calls import Call
from nextword.connection import Connection
from nextword.errors import ProtocolError
from nextword.event_stream import EventReader
from nextword.http_library import (
    LIMITS,
    MAX_SILENCE_SECONDS,
    certificates,
    deadline_passed,
    headers,
    method_of,
    timeouts,
    translated,
)
from nextword.rest_messages import read_error

__all__ = ["RestTransport"]

AnswerT = TypeVar("AnswerT")


class NetworkStream(Protocol):
    """What the HTTP library documents of the connection under an answer."""

    def get_extra_info(self, info: str) -> object: ...


class RestTransport:
    """Sends calls over REST; each has a connection of its own while it lasts."""

    def __init__(self, connection: Connection) -> None:
        address = connection.address
        self._url = address.url
        self._http = httpx2.Client(
            headers=headers(connection),
            verify=certificates(address, connection.ca_file),
            trust_env=not address.is_loopback,
            limits=LIMITS,
        )

    def send(self, call: Call[AnswerT]) -> AnswerT:
        """The answer to a call."""
        ends_at = time.monotonic() + call.seconds
        body = b""
        with self._response(call, silence_seconds=call.seconds) as response:
            for data in response.iter_raw():
                body += data
                if time.monotonic() > ends_at:
                    raise deadline_passed(call.seconds)
        if response.status_code != 200:
            raise read_error(response.status_code, body, response.headers)
        return call.read(body)

    def stream(self, call: Call[AnswerT]) -> Generator[AnswerT, None, None]:
        """The values of a stream of events; closing the generator closes the connection."""
        ends_at = time.monotonic() + call.seconds
        with self._response(call, silence_seconds=MAX_SILENCE_SECONDS) as response:
            alarm = _Alarm(response, seconds=ends_at - time.monotonic())
            try:
                yield from _values(response, call)
            except (httpx2.HTTPError, ProtocolError):
                if alarm.has_rung:
                    raise deadline_passed(call.seconds) from None
                raise
            finally:
                alarm.turn_off()

    def close(self) -> None:
        """Close the connections; streams that still run end."""
        self._http.close()

    @contextmanager
    def _response(
        self, call: Call[AnswerT], *, silence_seconds: float
    ) -> Generator[httpx2.Response, None, None]:
        with (
            translated(self._url, seconds=call.seconds),
            self._http.stream(
                method_of(call),
                self._url + call.path,
                content=call.body,
                timeout=timeouts(min(call.seconds, silence_seconds)),
            ) as response,
        ):
            yield response


def _values(response: httpx2.Response, call: Call[AnswerT]) -> Generator[AnswerT, None, None]:
    if response.status_code != 200:
        body = b"".join(response.iter_raw())
        raise read_error(response.status_code, body, response.headers)
    reader = EventReader()
    for data in response.iter_raw():
        for payload in reader.feed(data):
            if payload == b"[DONE]":
                return
            yield call.read(payload)
    raise ProtocolError("the stream ended in the middle")


class _Alarm:
    """Ends a connection when the time is over, so that whoever reads from it wakes.

    The HTTP library only knows how long one read may take, and each event begins another.
    """

    def __init__(self, response: httpx2.Response, *, seconds: float) -> None:
        stream = cast("NetworkStream", response.extensions["network_stream"])
        self._socket = cast("socket.socket", stream.get_extra_info("socket"))
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._timer.start()
        self.has_rung = False

    def turn_off(self) -> None:
        """Let the connection be."""
        self._timer.cancel()

    def _ring(self) -> None:
        self.has_rung = True
        with suppress(OSError):
            # Not the method of a TLS socket, which would forget its keys under the reader's feet.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
