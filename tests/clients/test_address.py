"""What a server's URL says, and what it must not say."""

import pytest
from nextword.address import parse_address
from nextword.errors import AddressError
from nextword.grpc_channel import open_channel


@pytest.mark.parametrize(
    ("url", "protocol", "authority", "is_encrypted"),
    [
        ("http://127.0.0.1:8000/", "rest", "127.0.0.1:8000", False),
        ("https://nextword.example", "rest", "nextword.example:443", True),
        ("HTTPS://nextword.example/under", "rest", "nextword.example:443", True),
        ("grpc://[::1]", "grpc", "[::1]:50051", False),
        ("grpcs://nextword.example", "grpc", "nextword.example:443", True),
        ("GRPCS://nextword.example:50051", "grpc", "nextword.example:50051", True),
    ],
)
def test_the_scheme_says_how_to_speak(
    url: str, protocol: str, authority: str, is_encrypted: bool
) -> None:
    address = parse_address(url)
    assert (address.protocol, address.authority) == (protocol, authority)
    assert address.is_encrypted is is_encrypted


@pytest.mark.parametrize(
    "url", ["nextword.example", "ftp://a", "grpcs://a/b", "grpc://a?b", "http://", "https://k@a"]
)
def test_what_is_no_servers_url_is_refused_and_named(url: str) -> None:
    with pytest.raises(AddressError, match=r"URL") as error:
        parse_address(url)
    assert repr(url) in str(error.value)


def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authority.pem")
    with pytest.raises(AddressError, match=r"SSL_CERT_FILE /nowhere/authority.pem: "):
        open_channel(parse_address("grpcs://nextword.example"))
