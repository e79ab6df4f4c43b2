"""What the code imports is declared, what is declared is pinned, and the pins agree with it."""

import re
import sys
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Protocol

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

APPLICATION = "pyproject.toml"
CLIENT = "clients/python/pyproject.toml"

# Import names whose distribution another one brings in on purpose, as part of its interface; triton
# comes with the builds of torch for NVIDIA GPUs only.
BROUGHT_BY = {"starlette": "fastapi", "triton": "torch"}

# Below a name that several distributions share, the one each part comes from.
PARTS_OF_SHARED_NAMES = {
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
}


class Import(Protocol):
    """What conftest.py's fixture holds."""

    importer: str
    imported: str
    place: str


def declared(file: Path, *extras: str) -> list[Requirement]:
    """The requirements of a pyproject file: the base ones and those of some extras."""
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    texts: list[str] = list(project["dependencies"])
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def pins(repository: Path) -> dict[NormalizedName, str]:
    text = (repository / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (li.split("==") for li in lines)}


@pytest.mark.parametrize(
    ("package", "file", "extras"),
    [
        ("model", APPLICATION, ("service", "gguf")),
        ("training", APPLICATION, ("training",)),
        ("service", APPLICATION, ("service",)),
        ("nextword", CLIENT, ("cli",)),
    ],
)
def test_every_imported_library_is_declared(
    repository: Path,
    own_imports: Sequence[Import],
    package: str,
    file: str,
    extras: tuple[str, ...],
) -> None:
    names = {canonicalize_name(need.name) for need in declared(repository / file, *extras)}
    ours = {"model", "training", "service", "nextword"}
    distributions = metadata.packages_distributions()
    undeclared: list[str] = []
    for found in own_imports:
        top = found.imported.split(".")[0]
        if found.importer.split(".")[0] != package or top in ours | sys.stdlib_module_names:
            continue
        part = ".".join(found.imported.split(".")[:2])
        owners = (
            {BROUGHT_BY[top]}
            if top in BROUGHT_BY
            else {canonicalize_name(name) for name in distributions[top]}
        )
        if part in PARTS_OF_SHARED_NAMES:
            owners = {PARTS_OF_SHARED_NAMES[part]}
        if not owners & names:
            undeclared.append(f"{found.place} imports {found.imported} of {sorted(owners)}")
    assert not undeclared


def test_every_requirement_is_pinned_to_a_version_it_allows(repository: Path) -> None:
    pinned = pins(repository)
    needs = declared(repository / APPLICATION, "training", "service", "gguf", "dev")
    needs += declared(repository / CLIENT, "cli")
    assert len(needs) > 30
    assert not [str(need) for need in needs if canonicalize_name(need.name) not in pinned]
    refused = [
        f"{need} does not allow {pinned[canonicalize_name(need.name)]}"
        for need in needs
        if not need.specifier.contains(pinned[canonicalize_name(need.name)], prereleases=True)
    ]
    assert not refused


def test_this_environment_is_what_the_constraints_pin(repository: Path) -> None:
    pinned = pins(repository)
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    assert len(pinned.keys() & installed.keys()) > 50
    differing = {
        name: (installed[name], version)
        for name, version in pinned.items()
        if name in installed and installed[name].partition("+")[0] != version
    }
    assert not differing


def test_stubs_never_meet_an_older_runtime_than_their_generator(repository: Path) -> None:
    """The client's floors are the stubs' own; the service's are not below them."""
    stubs = repository / "clients/python/nextword/v1"
    messages = (stubs / "text_generation_pb2.py").read_text(encoding="utf-8")
    calls = (stubs / "text_generation_pb2_grpc.py").read_text(encoding="utf-8")
    protobuf = re.search(r"Protobuf Python Version: ([\d.]+)", messages)
    grpcio = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", calls)
    assert protobuf
    assert grpcio
    stamps = {"protobuf": protobuf[1], "grpcio": grpcio[1], "grpcio-health-checking": grpcio[1]}
    client = {need.name: need.specifier for need in declared(repository / CLIENT)}
    service = {need.name: need.specifier for need in declared(repository / APPLICATION, "service")}
    for name, stamp in stamps.items():
        assert str(client[name]) == f">={stamp}"
        assert Version(str(service[name]).removeprefix(">=")) >= Version(stamp)
    pinned = pins(repository)
    assert len({version for name, version in pinned.items() if name.startswith("grpcio")}) == 1
