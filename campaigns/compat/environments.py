"""Environments of other people's packages: made where they are missing, each apart from others."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Environment", "EnvironmentFailedError", "node_environment", "python_environment"]

# The largest bring a few hundred megabytes.
INSTALL_SECONDS = 1800
STAMP = "nextword-packages.json"


class EnvironmentFailedError(Exception):
    """An environment cannot be made; the text is for whoever runs the campaign."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Installed packages.

    Attributes:
        folder: Where they lie.
        program: What runs a program in it.
        versions: Of the packages that were asked for.
    """

    folder: Path
    program: str
    versions: dict[str, str]


def python_environment(folder: Path, packages: tuple[str, ...]) -> Environment:
    """A virtual environment with the newest versions that the requirements allow.

    Raises:
        EnvironmentFailedError: pip could not install them.
    """
    python = folder / "bin" / "python"
    if not _is_made(folder, packages):
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *packages])
        _stamp(folder, packages)
    listed = _run([str(python), "-m", "pip", "list", "--format", "json"])
    found = {each["name"].lower(): each["version"] for each in json.loads(listed)}
    names = [package.split("<")[0].split("=")[0].lower() for package in packages]
    return Environment(folder, str(python), {name: found[name] for name in names})


def node_environment(folder: Path, packages: tuple[str, ...]) -> Environment:
    """A folder with packages of npm.

    Raises:
        EnvironmentFailedError: There is no Node, or npm could not install them.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise EnvironmentFailedError("node and npm are not installed")
    if not _is_made(folder, packages):
        folder.mkdir(parents=True)
        # Without one npm looks for a project above.
        (folder / "package.json").write_text("{}")
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--silent")
        _run([npm, "install", "--prefix", str(folder), *options, *packages])
        _stamp(folder, packages)
    versions = {
        name: json.loads((folder / "node_modules" / name / "package.json").read_text())["version"]
        for name in packages
    }
    return Environment(folder, node, versions)


def _is_made(folder: Path, packages: tuple[str, ...]) -> bool:
    stamp = folder / STAMP
    if stamp.exists() and json.loads(stamp.read_text()) == _words(packages):
        return True
    # Half of an environment is none.
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _stamp(folder: Path, packages: tuple[str, ...]) -> None:
    (folder / STAMP).write_text(json.dumps(_words(packages)))


def _words(packages: tuple[str, ...]) -> list[str]:
    return [hashlib.sha256(sys.version.encode()).hexdigest()[:12], *packages]


def _run(command: list[str]) -> str:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=INSTALL_SECONDS,
            env=environment,
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-3:]
        raise EnvironmentFailedError(f"{' '.join(command[:6])}...: {' '.join(last)}") from None
    except subprocess.TimeoutExpired:
        message = f"{' '.join(command[:6])}... did not end within {INSTALL_SECONDS:g} s"
        raise EnvironmentFailedError(message) from None
    return done.stdout
