"""An install without an NVIDIA GPU brings no CUDA: read from pip's own plans, real and staged.

The staged ones use small wheels that say what the real ones say: on Linux the package index's
torch requires NVIDIA packages, PyTorch's CPU index has a build with the local part ``+cpu``.
"""

import json
import platform
import socket
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from setup.install_torch import NoTorchError, candidate_sources, choose_source, pinned_version

VERSION = pinned_version()


def write_torch_wheel(folder: Path, version: str, *requirements: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    information = f"torch-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", "Name: torch", f"Version: {version}"]
    lines += [f"Requires-Dist: {text}" for text in requirements]
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{information}/METADATA", "\n".join(lines) + "\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    links = [f'<a href="{path.name}">{path.name}</a>' for path in sorted(folder.glob("*.whl"))]
    (folder / "index.html").write_text("<!DOCTYPE html>" + "".join(links), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Staged:
    """The places that pip looks at, each empty until a wheel is written there."""

    disk: Path
    package_index: Path
    cpu_index: Path

    def choose(self, *, system: str = "Linux", torch_index: str = "") -> tuple[str, str]:
        """The chosen source's words and the version pip would take from it."""
        sources = candidate_sources(
            VERSION,
            system=system,
            torch_index=torch_index,
            cpu_index=(self.cpu_index).as_uri(),
        )
        source, plan = choose_source(sources)
        return source.description, json.loads(plan.report)["install"][0]["metadata"]["version"]


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Staged:
    places = Staged(tmp_path / "disk", tmp_path / "packages", tmp_path / "cpu")
    for place in (places.disk, places.package_index / "torch", places.cpu_index / "torch"):
        place.mkdir(parents=True)
        (place / "index.html").write_text("<!DOCTYPE html>", encoding="utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", places.disk.as_uri())
    monkeypatch.setenv("PIP_INDEX_URL", places.package_index.as_uri())
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    # Where the real index offers a CUDA build beside everything else.
    write_torch_wheel(places.package_index / "torch", VERSION, "nvidia-cublas==13.1.0", "sympy")
    return places


def test_this_machine_gets_a_torch_without_cuda(repository: Path) -> None:
    planner = [sys.executable, str(repository / "setup" / "install_torch.py"), "--plan"]
    report = subprocess.run(planner, capture_output=True, text=True, check=True).stdout
    url = json.loads(report)["install"][0]["download_info"]["url"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    pip += ["--constraint", str(repository / "constraints.txt"), "--report", "-", f"torch @ {url}"]
    plan = json.loads(subprocess.run(pip, capture_output=True, text=True, check=True).stdout)
    versions = {item["metadata"]["name"]: item["metadata"]["version"] for item in plan["install"]}
    assert versions["torch"] == (VERSION if platform.system() == "Darwin" else f"{VERSION}+cpu")
    assert {"sympy", "filelock"} <= set(versions)
    assert not [name for name in versions if name.startswith(("nvidia", "cuda", "triton"))]


def test_a_wheel_on_the_disk_comes_before_any_index(staged: Staged) -> None:
    write_torch_wheel(staged.disk, f"{VERSION}+cpu", "sympy")
    write_torch_wheel(staged.cpu_index / "torch", f"{VERSION}+cpu", "sympy")
    description, version = staged.choose()
    assert "own disk" in description
    assert version == f"{VERSION}+cpu"


def test_linux_takes_the_cpu_index_and_not_the_package_index(staged: Staged) -> None:
    write_torch_wheel(staged.cpu_index / "torch", f"{VERSION}+cpu", "sympy")
    description, version = staged.choose()
    assert staged.cpu_index.as_uri() in description
    assert version == f"{VERSION}+cpu"


def test_a_further_index_of_the_users_cannot_slip_a_cuda_build_in(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", staged.package_index.as_uri())
    with pytest.raises(NoTorchError):
        staged.choose()


def test_a_cuda_wheel_on_the_disk_is_passed_over(staged: Staged) -> None:
    write_torch_wheel(staged.disk, VERSION, "nvidia-cudnn-cu13==9.1")
    write_torch_wheel(staged.cpu_index / "torch", f"{VERSION}+cpu", "sympy")
    assert staged.choose()[1] == f"{VERSION}+cpu"


def test_nothing_to_be_had_names_every_source_and_why(staged: Staged) -> None:
    write_torch_wheel(staged.disk, VERSION, "nvidia-cudnn-cu13==9.1")
    with pytest.raises(NoTorchError) as caught:
        staged.choose()
    first, disk, index = str(caught.value).splitlines()
    assert "without CUDA" in first
    assert "nvidia-cudnn" in disk
    assert staged.cpu_index.as_uri() in index
    assert f"none for Python {platform.python_version()}" in index


def test_an_index_out_of_reach_is_said_to_be(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_RETRIES", "1")
    with socket.socket() as closed_door:
        closed_door.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        address = f"http://127.0.0.1:{closed_door.getsockname()[1]}"
        with pytest.raises(NoTorchError, match="cannot be reached"):
            staged.choose(torch_index=address)


def test_an_index_named_by_the_user_is_taken_with_cuda(staged: Staged) -> None:
    index = staged.package_index.as_uri()
    assert staged.choose(torch_index=index) == (f"TORCH_INDEX={index}", VERSION)


def test_macos_takes_the_package_index_while_its_build_has_no_cuda(staged: Staged) -> None:
    with pytest.raises(NoTorchError):
        staged.choose(system="Darwin")
    write_torch_wheel(staged.package_index / "torch", VERSION, "sympy")
    assert staged.choose(system="Darwin") == ("the package index", VERSION)
