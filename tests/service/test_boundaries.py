"""What must stay apart: the front from torch, the stubs from their proto files."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_front_never_imports_torch() -> None:
    """Everything that the server process loads, from its composition root on."""
    done = run("-c", "import service.main, sys; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["scheduler", "request", "messages", "random_numbers"])
def test_accounting_in_the_engine_needs_no_torch(module: str) -> None:
    code = f"import service.engine.{module}, sys; sys.exit('torch' in sys.modules)"
    assert run("-c", code).returncode == 0


def test_committed_stubs_are_what_the_proto_files_give() -> None:
    done = run("proto/generate.py", "--check")
    assert done.returncode == 0, done.stderr


def test_a_changed_proto_file_is_noticed(tmp_path: Path) -> None:
    """The control of the test above."""
    assert run("proto/generate.py", str(tmp_path)).returncode == 0
    stub = tmp_path / "nextword" / "v1" / "text_generation_pb2.py"
    stub.write_text(stub.read_text() + "# changed\n")
    done = run("proto/generate.py", "--check", str(tmp_path))
    assert done.returncode == 1
    assert "text_generation_pb2.py" in done.stderr


def test_the_proto_files_are_lint_clean() -> None:
    """Interfaces 33: buf's standard rules, and a comment on everything."""
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run(
        [buf, "lint", REPOSITORY / "proto"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
