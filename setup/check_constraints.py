"""Shows by pip's dry run that constraints.txt resolves on every platform and Python we promise.

One dry run for each pair, of everything the tree installs, from wheels only. pip evaluates
environment markers for the machine it runs on, so each run gets the target's markers instead. On
Linux a wheel with the metadata of this environment's CPU torch stands in for PyTorch's CPU index,
so that no build with CUDA is downloaded; that the index has the wheel is asked separately.
"""

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from install_torch import CPU_INDEX, pinned_version

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
BUILD_TOOLS = ("hatchling", "editables")  # what the Makefile names itself
GLIBC_MINORS = range(28, 16, -1)  # manylinux tags that a system with glibc 2.28 accepts

# pip has no option for the markers of another machine.
LAUNCH_PIP = """
import json, os, runpy, sys
from pip._vendor.packaging import markers
markers.default_environment = lambda: json.loads(os.environ["TARGET_MARKERS"])
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A platform and a Python that constraints.txt must resolve for."""

    system: str
    machine: str
    python: str

    def __str__(self) -> str:
        return f"{self.system} {self.machine}, Python {self.python}"

    @property
    def pip_arguments(self) -> list[str]:
        """The options that make pip resolve for this target."""
        if self.system == "Darwin":
            platforms = [f"macosx_14_0_{self.machine}"]
        else:
            platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in GLIBC_MINORS]
            platforms += [f"manylinux2014_{self.machine}", f"linux_{self.machine}"]
        options = ["--only-binary=:all:", "--python-version", self.python]
        for platform in platforms:
            options += ["--platform", platform]
        return options

    @property
    def markers(self) -> dict[str, str]:
        """The marker variables as this target's Python would give them."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": self.system,
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": self.system.lower(),
        }


TARGETS = [
    Target(system, machine, python)
    for system, machine in (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"))
    for python in PYTHONS
]


def requirements() -> list[str]:
    """Everything the tree asks for: both distributions, all extras, the build tools."""
    asked = list(BUILD_TOOLS)
    for file in (ROOT / "pyproject.toml", ROOT / "clients/python/pyproject.toml"):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        asked += project["dependencies"]
        for extra in project.get("optional-dependencies", {}).values():
            asked += extra
    return asked


def normalised(name: str) -> str:
    """A distribution's name in the one spelling that indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Name and version of every line of constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return {normalised(name): version for name, version in re.findall(r"(?m)^(\S+?)==(\S+)", text)}


def write_torch_stand_in(folder: Path) -> None:
    """Write an empty wheel with the name, version and requirements of the CPU torch."""
    version = f"{pinned_version()}+cpu"
    needs = [text for text in importlib.metadata.requires("torch") or () if "extra" not in text]
    lines = ["Metadata-Version: 2.1", "Name: torch", f"Version: {version}"]
    lines += [f"Requires-Dist: {text}" for text in needs]
    information = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{information}/METADATA", "\n".join(lines) + "\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")


def run_pip(target: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pip as if on the target."""
    environment = {**os.environ, "TARGET_MARKERS": json.dumps(target.markers)}
    command = [sys.executable, "-c", LAUNCH_PIP, *arguments, *target.pip_arguments]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


def complaint_about(target: Target, stand_in: Path) -> str:
    """What is wrong with pip's plan for this target; prints the plan's summary when nothing is."""
    arguments = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    arguments += ["--target", "unused", "--constraint", "constraints.txt"]
    if target.system == "Linux":
        arguments += ["--find-links", str(stand_in)]
    result = run_pip(target, *arguments, *requirements())
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        return "\n  ".join(line for line in lines if not line.startswith("WARNING"))
    plan = {
        normalised(entry["metadata"]["name"]): str(entry["metadata"]["version"])
        for entry in json.loads(result.stdout)["install"]
    }
    if cuda := [name for name in plan if name.startswith(("nvidia", "cuda"))]:
        return f"the plan holds {', '.join(cuda)}"
    if unpinned := sorted(set(plan) - set(pins())):
        return f"constraints.txt does not pin {', '.join(unpinned)}"
    print(f"{target}: {len(plan)} packages, torch {plan['torch']}, no CUDA", flush=True)
    return ""


def cpu_index_has_torch(target: Target) -> bool:
    """Whether PyTorch's CPU index can be reached and lists the pinned version for this target."""
    result = run_pip(target, "--isolated", "index", "versions", "torch", "-i", CPU_INDEX)
    return f"{pinned_version()}+cpu" in result.stdout


def main() -> int:
    """Check every target, or the ones whose description holds a given word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="targets with WORD, e.g. Darwin")
    only = parser.parse_args().only
    targets = [target for target in TARGETS if only in str(target)]
    num_failures = 0
    with tempfile.TemporaryDirectory() as folder:
        write_torch_stand_in(Path(folder))
        for target in targets:
            if complaint := complaint_about(target, Path(folder)):
                num_failures += 1
                print(f"{target}: {complaint}", file=sys.stderr, flush=True)
    linux = [target for target in targets if target.system == "Linux"]
    listed = [target for target in linux if cpu_index_has_torch(target)]
    print(f"PyTorch's CPU index was seen to list torch for {len(listed)} of {len(linux)} targets.")
    print(f"{len(targets) - num_failures} passed, {num_failures} failed")
    return min(num_failures, 1)


if __name__ == "__main__":
    sys.exit(main())
