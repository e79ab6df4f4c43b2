"""What both of the HTTP library's clients need: certificates where they are used, our errors."""

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

import httpx2

from nextword.address import Address
from nextword.errors import (
    AddressError,
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorFacts,
)

__all__ = ["certificates", "deadline_passed", "translated"]


def certificates(address: Address) -> ssl.SSLContext | bool:
    """What verifies a server: this machine's certificates, read once in a process.

    Without TLS there is nothing to verify, and reading them would cost each client 30 ms.
    """
    return _certificates_of_this_machine() if address.is_encrypted else False


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
    except httpx2.TimeoutException:
        raise deadline_passed(seconds) from None
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ConnectionFailedError(f"the connection to {url} broke: {reason}") from None


def deadline_passed(seconds: float) -> DeadlineExceededError:
    """The error of a server that says nothing about a deadline that is over."""
    return DeadlineExceededError(
        f"no end within {seconds:g} seconds, and no word from the server about it",
        facts=ErrorFacts(code="deadline_exceeded", status=504),
    )
