"""Both ports behind a certificate of their own, made on the spot."""

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import grpc
import httpx2
import pytest
from nextword.address import parse_address
from nextword.health import check_health
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from service.main import main
from service.setting_spec import SettingsError
from service.tls import load_tls
from tests.contract.live_server import PATIENCE_SECONDS, Server, StartServer

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
# What it takes to have a certificate of another time signed.
AUTHORITY = """
[ca]
default_ca = own
[own]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = names
[names]
commonName = supplied
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a key and the certificate that it has signed itself."""
    folder = tmp_path_factory.mktemp("certificates")
    make_pair(folder, "certificate.pem", "key.pem")
    return folder


@pytest.fixture(scope="module")
def encrypted(start_server: StartServer, folder: Path) -> Server:
    """A server that shows it."""
    return start_server(*flags(folder / "certificate.pem", folder / "key.pem"))


def openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl: apt-get install openssl")
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)


def make_pair(folder: Path, certificate: str, key: str, *, kind: Sequence[str] = CURVE) -> None:
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl(folder, "req", "-x509", "-nodes", *kind, *names, "-keyout", key, "-out", certificate)


def make_expired(folder: Path, certificate: str, key: str) -> None:
    (folder / "authority").write_text(AUTHORITY)
    (folder / "index").touch()
    openssl(folder, "req", "-new", "-nodes", *CURVE, "-subj", "/CN=a", "-keyout", key, "-out", "r")
    openssl(
        folder,
        *("ca", "-batch", "-selfsign", "-config", "authority", "-in", "r", "-keyfile", key),
        *("-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-out", certificate),
    )


def flags(certificate: Path, key: Path) -> tuple[str, ...]:
    return ("--tls-certificate-file", str(certificate), "--tls-key-file", str(key))


def test_both_protocols_stream_over_tls(encrypted: Server, folder: Path) -> None:
    """Interfaces 40: to clients that trust the certificate, and with the same tokens."""
    assert encrypted.rest.startswith("https://")
    certificate = folder / "certificate.pem"
    body = {"prompt": "Once", "max_tokens": 5, "seed": 3, "ignore_eos": True, "stream": True}
    trusting = ssl.create_default_context(cafile=certificate)
    with httpx2.Client(verify=trusting, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        lines = client.post(f"{encrypted.rest}/v1/generate", json=body).text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    request = pb.StreamGenerateTextRequest(prompt="Once")
    request.parameters.CopyFrom(pb.SamplingParameters(max_tokens=5, seed=3, ignore_eos=True))
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with grpc.secure_channel(encrypted.grpc, credentials) as channel:
        stub = TextGenerationServiceStub(channel)
        pieces = list(stub.StreamGenerateText(request, timeout=PATIENCE_SECONDS))
    rest_ids = [token_id for event in events for token_id in event["token_ids"]]
    assert rest_ids == [token_id for piece in pieces for token_id in piece.token_ids]
    assert len(rest_ids) == 5


def test_probes_ask_over_tls(encrypted: Server, folder: Path) -> None:
    """What `nextword health` and an image's check do."""
    for url in (encrypted.rest, f"grpcs://{encrypted.grpc}"):
        for ca_file, is_ready in ((folder / "certificate.pem", True), (None, False)):
            health = check_health(
                parse_address(url), timeout_seconds=PATIENCE_SECONDS, ca_file=ca_file
            )
            assert health.is_ready is is_ready, health.status


def test_nobody_is_answered_in_the_clear(encrypted: Server) -> None:
    """H18."""
    host, _, port = encrypted.rest.removeprefix("https://").partition(":")
    with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/" not in plain.recv(1 << 16)
    with grpc.insecure_channel(encrypted.grpc) as channel:
        stub = TextGenerationServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListModels(pb.ListModelsRequest(), timeout=PATIENCE_SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_that_no_client_accepts_is_refused(folder: Path, tmp_path: Path) -> None:
    """H18: out of date, no certificate, or not there."""
    make_expired(tmp_path, "expired.pem", "key.pem")
    with pytest.raises(SettingsError, match="expired"):
        load_tls(str(tmp_path / "expired.pem"), str(tmp_path / "key.pem"))
    with pytest.raises(SettingsError, match="no pair"):
        load_tls(str(folder / "key.pem"), str(folder / "key.pem"))
    with pytest.raises(SettingsError, match=r"--tls-key-file .*No such file"):
        load_tls(str(folder / "certificate.pem"), str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("kind", "is_accepted"),
    [
        (("-newkey", "rsa:2048"), True),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"), True),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"), False),
        (("-newkey", "ed25519"), False),
    ],
)
def test_a_key_that_no_client_of_grpc_accepts_is_refused(
    tmp_path: Path, kind: tuple[str, ...], is_accepted: bool
) -> None:
    """H18: OpenSSL alone, as for REST, would be content with all of them."""
    make_pair(tmp_path, "certificate.pem", "key.pem", kind=kind)
    paths = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    if is_accepted:
        assert load_tls(*paths) is not None
        return
    with pytest.raises(SettingsError, match=r"--tls-key-file .*RSA, EC P-256, EC P-384 only"):
        load_tls(*paths)


def test_the_key_of_another_certificate_ends_the_start(
    folder: Path, tmp_path: Path, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """H18, with what a wrong setting ends with; so does a certificate without a key."""
    make_pair(tmp_path, "certificate.pem", "key.pem")
    pair = flags(folder / "certificate.pem", tmp_path / "key.pem")
    assert main(["--model", str(artifact), *pair]) == 2
    assert "KEY_VALUES_MISMATCH" in capsys.readouterr().err
    assert main(["--model", str(artifact), *pair[:2]]) == 2
    assert "--tls-key-file must be given too" in capsys.readouterr().err
