"""What the head of an HTTP request must be like before anything is done for it."""

import re
from dataclasses import dataclass

from service.errors import ErrorKind, RequestError
from service.transport_limits import TransportLimits

__all__ = ["Receipt", "RequestHead"]

_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]{0,255}")


@dataclass(slots=True)
class Receipt:
    """What went wrong with the receipt of a request whose body is being read; None while well."""

    failure: RequestError | None = None


class RequestHead:
    """Counts a head while it arrives, and judges it once it is whole."""

    def __init__(self, limits: TransportLimits) -> None:
        self._limits = limits
        self._num_bytes = self._num_headers = 0

    def count_url(self, url: bytes) -> None:
        """The URL as far as it has arrived.

        Raises:
            RequestError: It is too long.
        """
        if len(url) > self._limits.max_url_bytes:
            raise RequestError(
                ErrorKind.URL_TOO_LONG,
                f"the URL must be at most {self._limits.max_url_bytes} bytes",
            )

    def count_header(self, name: bytes, value: bytes) -> None:
        """One more header.

        Raises:
            RequestError: They are too many or too large.
        """
        self._num_bytes += len(name) + len(value) + len(b": \r\n")
        self._num_headers += 1
        if self._num_bytes > self._limits.max_head_bytes:
            raise self.too_large()
        if self._num_headers > self._limits.max_num_headers:
            raise RequestError(
                ErrorKind.HEADERS_TOO_LARGE,
                f"there must be at most {self._limits.max_num_headers} headers",
            )

    def too_large(self) -> RequestError:
        """The error of a head beyond its limit."""
        return RequestError(
            ErrorKind.HEADERS_TOO_LARGE,
            f"request line and headers must be at most {self._limits.max_head_bytes} bytes",
        )

    def judge(
        self, headers: list[tuple[bytes, bytes]], *, version: str, wants_upgrade: bool
    ) -> None:
        """The whole head.

        Args:
            headers: Names in lower case.
            version: As the request line has it, without "HTTP/".
            wants_upgrade: Whether another protocol is asked for.

        Raises:
            RequestError: Two readers could understand it differently, or it names no host.
        """
        hosts = [value for name, value in headers if name == b"host"]
        if version not in ("1.0", "1.1"):
            raise _invalid("only HTTP/1.0 and HTTP/1.1 are read here")
        codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or version == "1.0"):
            raise _invalid("Transfer-Encoding must be chunked alone, and the version HTTP/1.1")
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            raise _invalid("there must be one Host header")
        if not all(_HOST.fullmatch(host) for host in hosts):
            raise _invalid("the Host header names no host")
        has_body = bool(codings) or any(
            name == b"content-length" and value.strip(b"0 ") for name, value in headers
        )
        if wants_upgrade and has_body:
            # The parser takes the body for the other protocol.
            raise _invalid("an upgrade is not offered to a request with a body")


def _invalid(message: str) -> RequestError:
    return RequestError(ErrorKind.INVALID_HTTP, message)
