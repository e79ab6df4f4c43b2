"""What a client needs to know to reach its server, over either protocol."""

from dataclasses import dataclass, field
from pathlib import Path

from nextword.address import Address, parse_address
from nextword.api_key import authorization
from nextword.errors import ErrorFacts, InvalidRequestError
from nextword.request import check_timeout

__all__ = ["Connection", "new_connection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How a server is reached.

    Attributes:
        address: Where it is.
        timeout_seconds: How long calls that generate nothing may take.
        max_retries: How often a call is sent again at most.
        authorization: The header, or the metadata, that shows the key.
        ca_file: Certificates to trust (PEM) instead of this machine's.
    """

    address: Address
    timeout_seconds: float
    max_retries: int
    authorization: dict[str, str] = field(repr=False)
    ca_file: Path | None


def new_connection(
    url: str,
    *,
    timeout_seconds: float,
    api_key: str | None,
    max_retries: int,
    ca_file: str | Path | None,
) -> Connection:
    """Look at what a program gave, before anything is sent.

    Raises:
        AddressError: The URL is none of a server.
        NotPossibleError: The key has characters that no key has.
        InvalidRequestError: The timeout or the number of retries cannot be.
    """
    check_timeout(timeout_seconds)
    if max_retries < 0:
        raise InvalidRequestError(
            f"max_retries must be 0 or above, got {max_retries}",
            facts=ErrorFacts(code="invalid_value", status=400, field="max_retries"),
        )
    return Connection(
        address=parse_address(url),
        timeout_seconds=timeout_seconds,
        max_retries=max_retries,
        authorization=authorization(api_key),
        ca_file=None if ca_file is None else Path(ca_file),
    )
