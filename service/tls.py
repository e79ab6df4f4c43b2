"""The certificate and key that both ports show, read and tried out once at the start.

The trial is a handshake of the server with itself in memory: what a client would meet later, a key
that is another's or a date that has passed, ends the start instead.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from service.setting_spec import SettingsError

__all__ = ["Tls", "load_tls"]

_CERTIFICATE, _KEY = "--tls-certificate-file", "--tls-key-file"
# gRPC's usual clients accept no other kinds of keys; with another REST alone would be
# reached. These are the AlgorithmIdentifiers of RFC 3279 and RFC 5480 as certificates hold them.
_ACCEPTED_KEYS = {
    "RSA": bytes.fromhex("300d06092a864886f70d0101010500"),
    "EC P-256": bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"),
    "EC P-384": bytes.fromhex("301006072a8648ce3d020106052b81040022"),
}


@dataclass(frozen=True, slots=True)
class Tls:
    """What the ports show.

    Attributes:
        context: For REST.
        grpc_context: For gRPC, which is HTTP/2.
    """

    context: ssl.SSLContext
    grpc_context: ssl.SSLContext


def load_tls(certificate_file: str, key_file: str) -> Tls | None:
    """Read the files that two settings name; None where neither is given.

    Args:
        certificate_file: PEM: the server's certificate, and after it those that vouch for it.
        key_file: PEM: its key, not encrypted.

    Raises:
        SettingsError: One is missing, unreadable or out of date, they do not belong together, or
            the key is of a kind that clients of gRPC do not accept.
    """
    if not certificate_file and not key_file:
        return None
    for flag, other, value in (
        (_CERTIFICATE, _KEY, certificate_file),
        (_KEY, _CERTIFICATE, key_file),
    ):
        if not value:
            raise SettingsError(f"{flag} must be given too where {other} is")
    _check_readable(_CERTIFICATE, certificate_file)
    _check_readable(_KEY, key_file)
    context, grpc_context = _context("http/1.1"), _context("h2")
    try:
        for each in (context, grpc_context):
            # An encrypted key would make the library ask for its password on the terminal.
            each.load_cert_chain(certificate_file, key_file, password=lambda: b"")
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        # The server's own certificate is enough; who vouches for it is the clients' business.
        trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        trusting.load_verify_locations(certificate_file)
        shown = _shake_hands(context, trusting)
    except ssl.SSLCertVerificationError as error:
        raise SettingsError(
            f"{_CERTIFICATE} {certificate_file}: no client will accept it: {error.verify_message}"
        ) from None
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise SettingsError(
            f"{_CERTIFICATE} {certificate_file} and {_KEY} {key_file} are no pair of a PEM "
            f"certificate and its key without a password: {reason}"
        ) from None
    if not any(kind in shown for kind in _ACCEPTED_KEYS.values()):
        raise SettingsError(
            f"{_KEY} {key_file}: clients of gRPC accept keys of {', '.join(_ACCEPTED_KEYS)} only, "
            "and this one is of another kind"
        )
    return Tls(context, grpc_context)


def _context(protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    return context


def _check_readable(flag: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{flag} {path}: {error.strerror or 'cannot be read'}") from None


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """Connect the two in memory; the certificate that was shown, in DER.

    Raises:
        ssl.SSLError: One of them refuses the other.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [server.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up)]
    # Each side speaks at most twice before both are done.
    for side in (sides[1], sides[0]) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return sides[1].getpeercert(binary_form=True) or b""
