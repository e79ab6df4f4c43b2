"""Whom to trust over TLS: a file of certificates, or this machine's. Knows no network library."""

import ssl
from pathlib import Path

from nextword.errors import AddressError

__all__ = ["trusted"]


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """What verifies a server.

    Args:
        ca_file: Certificates (PEM); None is those of this machine, or of SSL_CERT_FILE.

    Raises:
        AddressError: They cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        reason = "it holds no certificate"
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
    raise AddressError(f"the certificates {ca_file or 'of this machine'}: {reason}")
