"""One package of the compatibility campaign that hangs fails alone."""

import sys
from pathlib import Path

import pytest

from campaigns.compat import trials
from campaigns.compat.clients import Client
from campaigns.compat.environments import Environment
from campaigns.compat.page import Place
from campaigns.compat.trials import Scene, try_client

# What it starts keeps the pipe, and would keep the campaign with it.
PROGRAM = """
import subprocess, sys, time
subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
"""


def test_a_package_that_hangs_is_that_packages_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "hangs.py"
    program.write_text(PROGRAM)

    def environment(folder: Path, packages: tuple[str, ...]) -> Environment:
        return Environment(folder, sys.executable, dict.fromkeys(packages, "1.2"))

    monkeypatch.setattr(trials, "python_environment", environment)
    monkeypatch.setattr(trials, "PROGRAM_SECONDS", 0.5)
    place = Place(rest="", grpc="", model="", model_folder="")
    client = Client(name="x", packages=("x",), program=str(program), section="", tried="")
    trial = try_client(client, tmp_path, Scene(place, "", ""))
    assert (trial.status, trial.version) == (1, "1.2")
    assert "did not end within 0.5 s" in trial.word
