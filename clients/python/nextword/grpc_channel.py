"""Opens channels: plain ones to `grpc://`, with TLS to `grpcs://`. Knows no messages."""

import os
from pathlib import Path

import grpc

from nextword.address import Address
from nextword.errors import AddressError

__all__ = ["open_asyncio_channel", "open_channel"]

_OWN_CERTIFICATES = "SSL_CERT_FILE"


def open_channel(address: Address) -> grpc.Channel:
    """A channel to an address.

    Raises:
        AddressError: The certificates that the environment names cannot be read.
    """
    if address.is_encrypted:
        return grpc.secure_channel(address.authority, _credentials(), options=_options(address))
    return grpc.insecure_channel(address.authority, options=_options(address))


def open_asyncio_channel(address: Address) -> grpc.aio.Channel:
    """A channel to an address that shares its connection with no other channel.

    Raises:
        AddressError: The certificates that the environment names cannot be read.
    """
    options = [*_options(address), ("grpc.use_local_subchannel_pool", 1)]
    if address.is_encrypted:
        return grpc.aio.secure_channel(address.authority, _credentials(), options=options)
    return grpc.aio.insecure_channel(address.authority, options=options)


def _options(address: Address) -> list[tuple[str, int]]:
    # A proxy of the environment cannot be meant for this machine.
    return [("grpc.enable_http_proxy", 0)] if address.is_loopback else []


def _credentials() -> grpc.ChannelCredentials:
    # The same variable says whom to trust over REST; without it gRPC has a list of its own.
    place = os.environ.get(_OWN_CERTIFICATES)
    if not place:
        return grpc.ssl_channel_credentials()
    try:
        return grpc.ssl_channel_credentials(Path(place).read_bytes())
    except OSError as error:
        raise AddressError(
            f"{_OWN_CERTIFICATES} {place}: it cannot be read: {error.strerror}"
        ) from None
