"""What must stay apart: the front, and the accounting in the engine, from torch."""

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
