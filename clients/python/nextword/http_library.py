"""What both of the HTTP library's clients need: certificates where they are used, our errors."""

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import httpx2

from nextword.address import Address
from nextword.calls import Call
from nextword.certificates import trusted
from nextword.connection import Connection
from nextword.errors import (
    AddressError,
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorFacts,
)

__all__ = [
    "LIMITS",
    "MAX_SILENCE_SECONDS",
    "certificates",
    "deadline_passed",
    "headers",
    "method_of",
    "timeouts",
    "translated",
]

# A stream is never silent for so long: the server pings every 15 seconds.
MAX_SILENCE_SECONDS = 40.0
CONNECT_SECONDS = 5.0
# How many streams run at once is the server's to limit; connections kept open beside them are few.
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=20)

AnswerT = TypeVar("AnswerT")


def headers(connection: Connection) -> dict[str, str]:
    """What goes out with every call."""
    # Whole answers are small, and a proxy that packed a stream would hold its events back.
    always = {"content-type": "application/json", "accept-encoding": "identity"}
    return always | connection.authorization


def method_of(call: Call[AnswerT]) -> str:
    """HTTP's method of a call."""
    return "GET" if call.body is None else "POST"


def timeouts(seconds: float) -> httpx2.Timeout:
    """How long a connection and each read may take."""
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def certificates(address: Address, ca_file: Path | None = None) -> ssl.SSLContext | bool:
    """What verifies a server: certificates of a file, or this machine's, read once in a process.

    Without TLS there is nothing to verify, and reading them would cost each client 30 ms.

    Raises:
        AddressError: They cannot be read.
    """
    if not address.is_encrypted:
        return False
    return _certificates_of_this_machine() if ca_file is None else trusted(ca_file)


@cache
def _certificates_of_this_machine() -> ssl.SSLContext:
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        raise AddressError(f"the certificates of this machine cannot be read: {error}") from error


@contextmanager
def translated(url: str, *, seconds: float) -> Generator[None, None, None]:
    """Turn the errors of what is done in the block into ours.

    Args:
        url: Who was asked.
        seconds: How long the answer was waited for.
    """
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        reason = str(error) or "no answer in time"
        raise ConnectionFailedError(f"nobody answers at {url}: {reason}") from None
    except (httpx2.TimeoutException, TimeoutError):
        raise deadline_passed(seconds) from None
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        message = f"the connection to {url} broke: {reason}"
        raise ConnectionFailedError(message, was_sent=True) from None


def deadline_passed(seconds: float) -> DeadlineExceededError:
    """The error of a server that says nothing about a deadline that is over."""
    return DeadlineExceededError(
        f"no end within {seconds:g} seconds, and no word from the server about it",
        facts=ErrorFacts(code="deadline_exceeded", status=504),
    )
