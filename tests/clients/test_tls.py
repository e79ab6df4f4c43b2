"""TLS: a server whose certificate is trusted is used, any other is not spoken to."""

import shutil
import subprocess
from pathlib import Path

import pytest
from nextword import AddressError, Client, ConnectionFailedError

from tests.clients.conftest import Connect, Scripted
from tests.clients.scripted_servers import Answer, Certificate

WHOLE = Answer(texts=("some", " text"))


def new_certificate(folder: Path) -> Certificate:
    """A certificate for localhost that vouches for itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl: apt-get install openssl")
    certificate = Certificate(chain=folder / "chain.pem", key=folder / "key.pem")
    command = [openssl, "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(certificate.key), "-out", str(certificate.chain)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return new_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return new_certificate(tmp_path_factory.mktemp("another"))


def test_a_certificate_that_is_trusted_lets_the_client_speak(
    scripted: Scripted, connect: Connect, certificate: Certificate
) -> None:
    url, _ = scripted(WHOLE, certificate=certificate)
    stream = connect(url, ca_file=certificate.chain).stream("x")
    assert stream.read_all().choices[0].text == "some text"


def test_the_environment_can_name_what_is_trusted(
    scripted: Scripted, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
    # Otherwise those of this machine are read once in a process.
    monkeypatch.setattr("nextword.http_library._certificates_of_this_machine", _unkept)
    url, _ = scripted(WHOLE, certificate=certificate)
    with Client(url) as client:
        assert client.stream("x").read_all().choices[0].text == "some text"


def _unkept() -> object:
    from nextword import http_library

    return http_library.httpx2.create_ssl_context()


def test_a_certificate_that_is_not_trusted_ends_the_connection(
    scripted: Scripted, connect: Connect, certificate: Certificate, another: Certificate
) -> None:
    url, script = scripted(WHOLE, certificate=certificate)
    client = connect(url, ca_file=another.chain, max_retries=0)
    with pytest.raises(ConnectionFailedError):
        list(client.stream("x", timeout_seconds=10.0))
    assert script.num_requests == 0


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    for content, reason in ((None, "cannot be read"), (b"nothing", "holds no certificate")):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        for scheme in ("https", "grpcs"):
            with pytest.raises(AddressError, match=reason) as caught:
                Client(f"{scheme}://localhost", ca_file=path)
            assert str(path) in str(caught.value)
