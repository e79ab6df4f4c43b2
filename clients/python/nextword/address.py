"""Where a server is: the URL's scheme chooses the protocol. Knows no network library."""

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from nextword.errors import AddressError

__all__ = ["DEFAULT_GRPC_URL", "DEFAULT_REST_URL", "Address", "parse_address"]

DEFAULT_REST_URL = "http://127.0.0.1:8000"
DEFAULT_GRPC_URL = "grpc://127.0.0.1:50051"
_DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 50051, "grpcs": 443}
_ENCRYPTED = ("https", "grpcs")
_GRPC = ("grpc", "grpcs")


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address over one protocol.

    Attributes:
        protocol: How to speak there.
        url: The URL as given, without a slash at its end.
        host: Name or number of the machine, without brackets.
        port: Its port.
    """

    protocol: Literal["rest", "grpc"]
    url: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``HOST:PORT``, with brackets around an IPv6 number."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_encrypted(self) -> bool:
        """Whether it is reached with TLS."""
        return self.url.partition(":")[0].lower() in _ENCRYPTED

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine: no proxy of the environment can be meant for it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(url: str) -> Address:
    """Read a server's URL: ``http(s)://`` for REST, ``grpc(s)://`` for gRPC; an s for TLS.

    Raises:
        AddressError: It is none, or has parts that the protocol has no use for.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _not_an_address(url) from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or _has_extras(parts):
        raise _not_an_address(url)
    if parts.scheme in _GRPC and parts.path not in ("", "/"):
        raise AddressError(f"a gRPC URL has no path, not {parts.path!r}: {url!r}")
    return Address(
        protocol="grpc" if parts.scheme in _GRPC else "rest",
        url=url.rstrip("/"),
        host=parts.hostname,
        port=port if port is not None else _DEFAULT_PORTS[parts.scheme],
    )


def _has_extras(parts: SplitResult) -> bool:
    return bool(parts.query or parts.fragment or parts.username or parts.password)


def _not_an_address(url: str) -> AddressError:
    return AddressError(
        f"the server's URL must look like {DEFAULT_REST_URL} or {DEFAULT_GRPC_URL} (with TLS: "
        f"https://, grpcs://), not {url!r}"
    )
