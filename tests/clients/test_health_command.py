"""`nextword health` as probes and containers use it."""

import json
import subprocess
import sys

import pytest

from tests.clients.conftest import Serve, TypeIn
from tests.contract.live_server import Server


def test_health_asks_both_protocols(type_in: TypeIn, server: Server) -> None:
    urls = ("--url", server.rest, "--url", f"grpc://{server.grpc}")
    assert type_in("health", *urls, "--wait", "5") == (
        0,
        f"{server.rest}: ready\ngrpc://{server.grpc}: ready\n",
        "",
    )
    code, out, _ = type_in("health", *urls, "--json")
    assert code == 0
    assert [answer["is_ready"] for answer in json.loads(out)] == [True, True]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_health_of_nobody_is_a_failed_probe(type_in: TypeIn, scheme: str, closed_port: int) -> None:
    url = f"{scheme}://127.0.0.1:{closed_port}"
    code, out, err = type_in("health", "--url", url, "--timeout", "1", "--wait", "0.3")
    assert (code, out) == (1, "")
    assert err.startswith(f"{url}: nobody answers: ")


def test_health_says_why_a_server_is_not_ready(type_in: TypeIn, serve: Serve) -> None:
    body = b'{"status": "loading"}'
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    url = serve([head + body])
    assert type_in("health", "--url", url) == (1, "", f"{url}: not ready: loading\n")


def test_health_waits_until_the_server_is_ready(type_in: TypeIn, serve: Serve) -> None:
    not_ready = [b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"]
    url = serve(not_ready, not_ready, [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
    assert type_in("health", "--url", url, "--wait", "30") == (0, f"{url}: ready\n", "")


def test_health_loads_no_library_that_a_probe_does_not_need(server: Server) -> None:
    script = (
        "import sys; from nextword.command_line.application import run; "
        f"assert run(['health', '--url', '{server.rest}']) == 0; "
        "unneeded = {'httpx2', 'rich', 'asyncio', 'grpc', 'torch', 'nextword.client', "
        "'nextword.answers', 'nextword.bench'}; print(sorted(unneeded & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
