"""Installs the pinned torch into the environment this runs in, and says which source it took.

Never a CUDA build unless ``TORCH_INDEX`` asks for one: on Linux the package index's own torch
brings gigabytes of NVIDIA packages, so the wheels pip finds on its own disk come first and
PyTorch's CPU index second. On macOS the package index's build is the CPU one.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"


class NoTorchError(Exception):
    """No source has a torch for this machine; the message has a line for each."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where torch comes from: words for the user, arguments for pip."""

    description: str
    pip_arguments: tuple[str, ...]
    must_be_cpu: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What pip would install from one source, or why it cannot."""

    report: str
    requirements: tuple[str, ...]
    complaint: str

    @property
    def cuda_requirements(self) -> list[str]:
        """The NVIDIA packages that this torch would bring along."""
        return [name for name in self.requirements if re.match("nvidia|cuda", name)]


def pinned_version() -> str:
    """The torch version that constraints.txt names."""
    match = re.search(r"^torch==([0-9.]+)", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        sys.exit(f"{CONSTRAINTS.name} names no torch version (a line torch==X.Y.Z).")
    return match[1]


def candidate_sources(
    version: str, *, system: str, torch_index: str, cpu_index: str = CPU_INDEX
) -> list[Source]:
    """The sources to try, best first.

    Args:
        version: Without a local part: ``2.13.0``.
        system: As ``platform.system()`` says it.
        torch_index: The user's ``TORCH_INDEX``, or an empty string.
        cpu_index: Where Linux builds without CUDA are.
    """
    pinned = f"torch=={version}"
    if torch_index:
        description = f"TORCH_INDEX={torch_index}"
        return [Source(description, ("-i", torch_index, pinned), must_be_cpu=False)]
    on_disk = Source("the wheels on pip's own disk", ("--no-index", pinned))
    if system == "Linux":
        # The local part keeps pip from taking a CUDA build that another configured index offers.
        index = Source(f"PyTorch's CPU index {cpu_index}", ("-i", cpu_index, f"{pinned}+cpu"))
    else:
        index = Source("the package index", (pinned,))
    return [on_disk, index]


def why_not(pip_errors: str) -> str:
    """The reason in pip's many lines of errors, as one line that says what to do about it."""
    if "connection broken" in pip_errors:
        return "it cannot be reached from here"
    if "ResolutionImpossible" in pip_errors or "No matching distribution" in pip_errors:
        python = platform.python_version()
        return f"none for Python {python}, {platform.system()} {platform.machine()}"
    errors = [line for line in pip_errors.splitlines() if line.startswith("ERROR")]
    return (errors or [pip_errors.strip()])[0]


def pip_plan(source: Source) -> Plan:
    """Ask pip what it would install from this source, without installing it."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--no-deps", "--report", "-", *source.pip_arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return Plan("", (), why_not(result.stderr))
    metadata_of_torch = json.loads(result.stdout)["install"][0]["metadata"]
    return Plan(result.stdout, tuple(metadata_of_torch.get("requires_dist", ())), "")


def choose_source(sources: Sequence[Source]) -> tuple[Source, Plan]:
    """The first source whose torch may be installed here, with pip's plan for it.

    Raises:
        NoTorchError: none of them; it says why for each.
    """
    reasons: list[str] = []
    for source in sources:
        plan = pip_plan(source)
        if plan.complaint:
            reasons.append(f"{source.description}: {plan.complaint}")
        elif source.must_be_cpu and plan.cuda_requirements:
            reasons.append(f"{source.description}: its torch needs {plan.cuda_requirements[0]}")
        else:
            return source, plan
    raise NoTorchError("\n  ".join(["No torch without CUDA for this machine:", *reasons]))


def installed_version() -> str:
    """The version of torch in this environment, or an empty string."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""


def main() -> int:
    """Install torch, or with ``--plan`` only print what would be installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", action="store_true", help="print pip's plan, install nothing")
    only_plan = parser.parse_args().plan
    version = pinned_version()
    torch_index = os.environ.get("TORCH_INDEX", "")
    present = installed_version()
    if present.partition("+")[0] == version and not only_plan and not torch_index:
        print(f"torch {present} is installed already")
        return 0
    sources = candidate_sources(version, system=platform.system(), torch_index=torch_index)
    try:
        source, plan = choose_source(sources)
    except NoTorchError as error:
        print(f"{error}\nTORCH_INDEX=URL names an index that has one.", file=sys.stderr)
        return 1
    if only_plan:
        print(plan.report)
        return 0
    print(f"torch {version} from {source.description}", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    return subprocess.run([*command, *source.pip_arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
