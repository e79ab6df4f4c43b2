"""The first loading: everything that the settings ask for, all engines at once."""

import asyncio
from collections.abc import Coroutine, Iterable

from service.models.model_choice import ChosenFolder, ModelChoice
from service.models.model_loader import ModelLoader
from service.models.model_store import StoreError
from service.models.served_models import ServedModels
from service.models.served_version import ServedVersion
from service.models.store_watch import StoreWatch

__all__ = ["start_models"]


async def start_models(
    choice: ModelChoice, models: ServedModels, loader: ModelLoader, watch: StoreWatch | None
) -> None:
    """Load what is to be served, and begin to serve it.

    A name of the store of which no version works is left out, loudly; a folder or version that was
    asked for by its own name must work.

    Raises:
        VersionRefusedError: One that was asked for by name cannot be served.
        StoreError: No name of the store can be served, and there is nothing else.
    """
    loads: list[Coroutine[None, None, ServedVersion | None]] = []
    if watch is not None:
        loads += [watch.load_first(stored) for stored in choice.stored.values()]
    loads += [loader.load(folder.directory, name=folder.name) for folder in choice.folders]
    tasks: list[asyncio.Task[ServedVersion | None]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(load) for load in loads]
        found = _loaded(tasks)
        if not found:
            raise StoreError(f"{choice.root}: no model that can be served; `make train` makes one")
        async with asyncio.TaskGroup() as group:
            missing = _not_among(choice.pins, found)
            loads = [loader.load(pin.directory, name=pin.name) for pin in missing]
            tasks += [group.create_task(load) for load in loads]
    except BaseException as error:
        await asyncio.gather(*(version.stop() for version in _loaded(tasks)))
        if isinstance(error, BaseExceptionGroup):
            # One reason is enough for the operator; the others may follow from it.
            raise error.exceptions[0] from None
        raise
    _open(choice, models, _loaded(tasks))


def _open(choice: ModelChoice, models: ServedModels, loaded: list[ServedVersion]) -> None:
    kept = {f"{each.name}@{each.version}" for each in (*choice.folders, *choice.pins)}
    current: dict[str, ServedVersion] = {}
    for version in loaded:
        before = current.get(version.folder.name)
        # A name of the store means what was found for it, and pins come after that; of several
        # folders with one name the highest version is meant.
        is_from_store = version.folder.name in choice.stored
        if before is None or (not is_from_store and _is_after(version, before)):
            current[version.folder.name] = version
    models.open(current.values(), [version for version in loaded if version.label in kept])


def _is_after(version: ServedVersion, other: ServedVersion) -> bool:
    return int(version.folder.version) > int(other.folder.version)


def _loaded(tasks: Iterable[asyncio.Task[ServedVersion | None]]) -> list[ServedVersion]:
    done = [task for task in tasks if task.done() and not task.cancelled()]
    results = [task.result() for task in done if task.exception() is None]
    return [version for version in results if version is not None]


def _not_among(pins: Iterable[ChosenFolder], found: list[ServedVersion]) -> list[ChosenFolder]:
    labels = {version.label for version in found}
    return [pin for pin in pins if f"{pin.name}@{pin.version}" not in labels]
