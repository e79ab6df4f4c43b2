"""The tree as data: its tracked files, and what each module of it imports."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

OWN_PACKAGES = ("model", "training", "service")


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: where it stands and the dotted name it asks for."""

    importer: str
    imported: str
    place: str


def imports_of(path: Path, *, module: str) -> Iterator[Import]:
    """Every import of a file, those inside functions and `if TYPE_CHECKING` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(module, alias.name, f"{path}:{node.lineno}")
            case ast.ImportFrom(module=str() as source, names=names):
                # `from service import errors` imports service.errors.
                for alias in names:
                    yield Import(module, f"{source}.{alias.name}", f"{path}:{node.lineno}")
            case _:
                pass


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def tracked_files(repository: Path) -> list[Path]:
    """What git holds, and what it would hold after `git add`: everything that is not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    names = sorted(set(result.stdout.split("\0")) - {""})
    return [repository / name for name in names if (repository / name).is_file()]


@pytest.fixture(scope="session")
def own_modules(repository: Path) -> dict[str, Path]:
    """Dotted name and file of every module of the application and the client."""
    roots = [(repository, package) for package in OWN_PACKAGES]
    roots.append((repository / "clients" / "python", "nextword"))
    modules: dict[str, Path] = {}
    for root, package in roots:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path
    return modules


@pytest.fixture(scope="session")
def own_imports(own_modules: dict[str, Path]) -> list[Import]:
    """Every import statement of the application and the client."""
    return [found for name, path in own_modules.items() for found in imports_of(path, module=name)]
