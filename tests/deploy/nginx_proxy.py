"""A running nginx with the configuration of deploy/nginx, on a port and a certificate of its own.

Only what a user would put in is replaced: addresses, the port and the certificate, and the lines
that the file itself offers to newer versions.
"""

import contextlib
import re
import socket
import ssl
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.contract.live_server import wait_until

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "nextword.conf"

# How HTTP/2 is asked for, and what the file has in a comment for versions that warn of it.
LISTEN = "    listen 443 ssl http2;\n    # listen 443 ssl;\n    # http2 on;\n"
LISTEN_FROM_1_25_1 = "    listen 443 ssl;\n    http2 on;\n"

# What stands around it where it is included.
MAIN = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/nextword.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running nginx.

    Attributes:
        port: Where it takes TLS.
        certificate: What it shows, which is its own authority.
    """

    port: int
    certificate: Path

    @property
    def url(self) -> str:
        """Where REST is."""
        return f"https://localhost:{self.port}"

    @property
    def context(self) -> ssl.SSLContext:
        """What verifies it."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def credentials(self) -> grpc.ChannelCredentials:
        """What verifies it over gRPC."""
        return grpc.ssl_channel_credentials(self.certificate.read_bytes())


@dataclass(frozen=True, slots=True)
class Nginx:
    """The program, and the folder of its certificate."""

    program: str
    certificates: Path

    @property
    def version(self) -> tuple[int, ...]:
        """Its version."""
        told = subprocess.run([self.program, "-v"], capture_output=True, text=True, check=True)
        found = re.search(r"nginx/([0-9.]+)", told.stderr)
        assert found is not None, told.stderr
        return tuple(int(number) for number in found[1].split("."))

    @contextlib.contextmanager
    def running(
        self,
        folder: Path,
        *,
        rest: str,
        grpc_address: str,
        replacements: dict[str, str] | None = None,
    ) -> Generator[Proxy]:
        """Run it before a server.

        Args:
            folder: Empty, for its files.
            rest: HOST:PORT of the server's REST.
            grpc_address: HOST:PORT of its gRPC.
            replacements: What a test changes in the configuration beside.
        """
        port = _free_port()
        listen = LISTEN if self.version < (1, 25, 1) else LISTEN_FROM_1_25_1
        self._write(
            folder,
            {
                "server 127.0.0.1:8000;": f"server {rest};",
                "server 127.0.0.1:50051;": f"server {grpc_address};",
                LISTEN: listen.replace("listen 443", f"listen 127.0.0.1:{port}"),
                "server_name nextword.example;": "server_name localhost;",
                "/etc/nginx/nextword/": f"{self.certificates}/",
                **(replacements or {}),
            },
        )
        command = [self.program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "[warn]" not in checked.stderr, checked.stderr
        log = folder / "log"
        with log.open("w") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=sink)
        try:
            wait_until(lambda: process.poll() is not None or _is_listening(port))
            assert process.poll() is None, log.read_text()
            yield Proxy(port, self.certificates / "certificate.pem")
        finally:
            process.kill()
            process.wait()

    def _write(self, folder: Path, replacements: dict[str, str]) -> None:
        text = CONFIGURATION.read_text(encoding="utf-8")
        for old, new in replacements.items():
            assert old in text, f"{old!r} is not in {CONFIGURATION.name}"
            text = text.replace(old, new)
        (folder / "nextword.conf").write_text(text, encoding="utf-8")
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder), encoding="utf-8")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
