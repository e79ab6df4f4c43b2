"""Opens channels: plain ones to `grpc://`, with TLS to `grpcs://`. Knows no messages."""

import os
from pathlib import Path

import grpc

from nextword.address import Address
from nextword.errors import AddressError

__all__ = ["open_asyncio_channel", "open_channel"]

_OWN_CERTIFICATES = "SSL_CERT_FILE"
_ALWAYS = [
    # A connection whose other end fell silent is noticed while a call waits on it, as over REST.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The library would let attempts to connect wait for up to two minutes after failed ones.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # What a server sends is its own to limit: logits of a whole vocabulary are long.
    ("grpc.max_receive_message_length", -1),
]


def open_channel(address: Address, *, ca_file: Path | None = None) -> grpc.Channel:
    """A channel to an address.

    Raises:
        AddressError: The certificates to trust cannot be read.
    """
    if address.is_encrypted:
        credentials = _credentials(ca_file)
        return grpc.secure_channel(address.authority, credentials, options=_options(address))
    return grpc.insecure_channel(address.authority, options=_options(address))


def open_asyncio_channel(address: Address, *, ca_file: Path | None = None) -> grpc.aio.Channel:
    """A channel to an address that shares its connection with no other channel.

    Raises:
        AddressError: The certificates to trust cannot be read.
    """
    options = [*_options(address), ("grpc.use_local_subchannel_pool", 1)]
    if address.is_encrypted:
        return grpc.aio.secure_channel(address.authority, _credentials(ca_file), options=options)
    return grpc.aio.insecure_channel(address.authority, options=options)


def _options(address: Address) -> list[tuple[str, int]]:
    # A proxy of the environment cannot be meant for this machine.
    return [*_ALWAYS, ("grpc.enable_http_proxy", 0)] if address.is_loopback else _ALWAYS


def _credentials(ca_file: Path | None) -> grpc.ChannelCredentials:
    # The same variable says whom to trust over REST; without it gRPC has a list of its own.
    place = ca_file or os.environ.get(_OWN_CERTIFICATES)
    if not place:
        return grpc.ssl_channel_credentials()
    name = "the certificates" if ca_file is not None else _OWN_CERTIFICATES
    try:
        content = Path(place).read_bytes()
    except OSError as error:
        raise AddressError(f"{name} {place}: it cannot be read: {error.strerror}") from None
    if b"BEGIN CERTIFICATE" not in content:
        # The library would wait for a deadline, and tell no reason.
        raise AddressError(f"{name} {place}: it holds no certificate")
    return grpc.ssl_channel_credentials(content)
