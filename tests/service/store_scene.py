"""A model store with what is served of it: engines are doubles, all else is real."""

import asyncio
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from service.engine_link.engine_figures import EngineFigures
from service.memory_use import MemoryBudget
from service.metrics import Metrics
from service.models.model_loader import ModelLoader, Refusal, VersionRefusedError
from service.models.served_models import ServedModels, ServedVersion
from service.models.store_watch import StoreWatch

NOBODY = 65534


@dataclass(frozen=True)
class Folder:
    name: str
    version: str
    created: int = 0


@dataclass(eq=False)
class Model:
    """Stands for a served version and its model; its requests end when the test says so."""

    folder: Folder
    released: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def model(self) -> "Model":
        return self

    @property
    def models(self) -> tuple["Model"]:
        return (self,)

    @property
    def label(self) -> str:
        return f"{self.folder.name}@{self.folder.version}"

    async def wait_released(self) -> None:
        await self.released.wait()

    async def stop(self) -> None:
        self.stopped.set()


@contextmanager
def open_folder() -> Generator[Path]:
    """A folder that anybody may enter; pytest's own are closed to other users."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        yield Path(root)


@contextmanager
def as_anybody() -> Generator[None]:
    """Without root's right to read everything, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def fault_of(directory: Path) -> str:
    """What a version's only file says."""
    return (directory / "fault").read_text()


@dataclass
class Loader:
    """Loads a version unless its file says why not; remembers what it was asked for."""

    budget: MemoryBudget = field(default_factory=lambda: MemoryBudget(1 << 60))
    asked: list[str] = field(default_factory=list[str])

    async def load(self, directory: Path, *, name: str, in_background: bool = False) -> Model:
        self.asked.append(f"{name}@{directory.name}{'' if in_background else ' at the start'}")
        if fault := fault_of(directory):
            raise VersionRefusedError(Refusal(fault), f"it is {fault}", needed_bytes=1000)
        return Model(Folder(name, directory.name))


class Scene:
    """A store with what is served of it."""

    def __init__(self, root: Path, *, foreign_names: frozenset[str] = frozenset()) -> None:
        self.root = root
        self.models = ServedModels()
        self.loader = Loader()
        self.metrics = Metrics()
        self.watch = StoreWatch(
            root,
            self.models,
            cast("ModelLoader", self.loader),
            EngineFigures(self.metrics),
            foreign_names=foreign_names,
        )

    def add(self, name: str, version: str, fault: str = "") -> None:
        (self.root / name / version).mkdir(parents=True, exist_ok=True)
        (self.root / name / version / "fault").write_text(fault)

    def open(self, *models: Model, pinned: tuple[Model, ...] = ()) -> None:
        self.models.open(cast("list[ServedVersion]", models), cast("list[ServedVersion]", pinned))

    async def look(self) -> list[str]:
        """What is served after another look."""
        await self.watch.look()
        return [version.label for version in self.models.versions]

    def swaps(self, outcome: str, name: str = "tiny") -> float:
        labels = {"model": name, "outcome": outcome}
        return self.metrics.registry.get_sample_value("nextword_model_swaps_total", labels) or 0.0


def tiny(version: str) -> Model:
    return Model(Folder("tiny", version))
