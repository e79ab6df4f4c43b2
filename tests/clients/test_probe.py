"""`python -m nextword.probe`: the health check of a container."""

import subprocess
import sys

import pytest

from tests.contract.live_server import Server


def probe(*arguments: str) -> tuple[int, str, str]:
    """Exit status and both outputs."""
    command = [sys.executable, "-m", "nextword.probe", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_ready_server_is_0(server: Server) -> None:
    assert probe(server.rest) == (0, f"{server.rest}: ready\n", "")


def test_nobody_is_1(closed_port: int) -> None:
    status, out, err = probe(f"http://127.0.0.1:{closed_port}")
    assert (status, err) == (1, "")
    assert "nobody answers" in out


@pytest.mark.parametrize("arguments", [(), ("ftp://x",), ("http://a", "http://b")])
def test_anything_but_one_url_is_one_line_and_2(arguments: tuple[str, ...]) -> None:
    status, out, err = probe(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("nextword.probe: ")
    assert len(err.splitlines()) == 1


def test_it_loads_no_library_beyond_pythons_own(server: Server) -> None:
    script = (
        "import sys; from nextword.probe import main; "
        f"sys.argv[1:] = ['{server.rest}']; assert main() == 0; "
        "print(sorted({'typer', 'rich', 'httpx2', 'pydantic', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
