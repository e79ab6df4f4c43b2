"""Follows a model store while it is served: new versions, new names, and `current` pointed back.

One change at a time. What is served stays served until its successor has proved that it works; what
is refused stays refused until its files change, or until there is room for it.
"""

import asyncio
import logging
from functools import partial
from pathlib import Path

from service.daemon_thread import in_daemon_thread
from service.engine_link.engine_figures import EngineFigures
from service.logs import log_fields
from service.memory_use import MemoryRefusedError
from service.models.model_loader import ModelLoader, Refusal, VersionRefusedError
from service.models.model_store import StoreError
from service.models.served_models import ServedModels
from service.models.served_version import ServedVersion
from service.models.store_scan import StoredName, folder_signature, scan_store
from service.refusal_book import CURRENT_FILE, RefusalBook, Verdict

__all__ = ["StoreWatch"]

_logger = logging.getLogger(__name__)

SWAPPED = "swapped"


class StoreWatch:
    """Serves what lies in a store, and what comes to lie there.

    Args:
        root: The store.
        models: What is served.
        loader: Makes served versions.
        figures: Counts swaps and refusals.
        foreign_names: Names that --model gave to other folders; in the store they are left alone.
    """

    def __init__(
        self,
        root: Path,
        models: ServedModels,
        loader: ModelLoader,
        figures: EngineFigures,
        *,
        foreign_names: frozenset[str] = frozenset(),
    ) -> None:
        self._root = root
        self._models = models
        self._loader = loader
        self._figures = figures
        self._foreign_names = foreign_names
        self._book = RefusalBook(models, figures)
        self._missing: set[str] = set()
        self._retirements: set[asyncio.Task[None]] = set()

    async def load_first(self, stored: StoredName) -> ServedVersion | None:
        """What to serve of a name at the start: the first candidate that works, None if none does.

        What is passed over is said loudly.
        """
        self._begin_series(stored.name)
        self._book.note_fault(stored.name, stored.fault)
        for number in stored.candidates:
            version = await self._try(stored, number, in_background=False)
            if version is not None:
                if number != stored.candidates[0]:
                    _logger.error("%s is served in place of a version after it", version.label)
                return version
        return None

    async def run(self, interval_seconds: float) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(interval_seconds)
            try:
                await self.look()
            except StoreError as error:
                _logger.error("the model store cannot be read: %s", error)
            except Exception:
                # Whatever is wrong with looking, what is served goes on being served.
                _logger.exception("a look at the model store failed")

    async def look(self) -> None:
        """Look once, and do what is to be done.

        Raises:
            StoreError: The store cannot be read; what is served stays.
        """
        found = await in_daemon_thread(partial(scan_store, self._root))
        for name, stored in found.items():
            if name in self._foreign_names:
                continue
            try:
                await self._follow(stored)
            except Exception:
                # A folder that changes under us, or a bug of ours: neither ends the watch, nor
                # keeps the other names from being followed.
                _logger.exception("%s cannot be followed; what is served of it stays", name)
        ours = {each.folder.name for each in self._models.versions} - self._foreign_names
        missing = ours - found.keys()
        for name in sorted(missing - self._missing):
            _logger.warning("%s has left the store; it is served until the server ends", name)
        self._missing = missing

    async def close(self) -> None:
        """Stop waiting for the last requests of replaced versions."""
        for task in self._retirements:
            task.cancel()
        if self._retirements:
            await asyncio.wait(self._retirements)

    async def _follow(self, stored: StoredName) -> None:
        serving = self._models.current(stored.name)
        self._begin_series(stored.name)
        self._book.note_fault(stored.name, stored.fault)
        wanted = stored.candidates if serving is None else stored.wanted(serving.folder.version)
        for number in wanted:
            version = self._models.pinned(stored.name, number)
            version = version or await self._try(stored, number, in_background=True)
            if version is not None:
                self._swap(version)
                wanted = wanted[: wanted.index(number)]
                break
        self._book.keep_only(stored.name, wanted)

    def _begin_series(self, name: str) -> None:
        # Prometheus sees no increase in a series that begins at one.
        for outcome in (SWAPPED, CURRENT_FILE, *Refusal):
            self._figures.swaps.labels(name, outcome)
        self._figures.refused_versions.labels(name)

    async def _try(
        self, stored: StoredName, number: str, *, in_background: bool
    ) -> ServedVersion | None:
        directory = stored.directory / number
        signature = await in_daemon_thread(partial(folder_signature, directory))
        known = self._book.verdict(stored.name, number)
        if known is not None and known.signature == signature and not self._has_room_now(known):
            return None
        try:
            return await self._loader.load(directory, name=stored.name, in_background=in_background)
        except VersionRefusedError as error:
            self._book.refuse(stored.name, number, Verdict(error, signature))
            return None

    def _has_room_now(self, known: Verdict) -> bool:
        """Whether a version was refused for want of memory that there is by now."""
        if known.error.refusal is not Refusal.NO_MEMORY:
            return False
        try:
            self._loader.budget.check(known.error.needed_bytes)
        except MemoryRefusedError:
            return False
        return True

    def _swap(self, version: ServedVersion) -> None:
        before = self._models.put(version)
        self._figures.swaps.labels(version.folder.name, SWAPPED).inc()
        log_fields(
            _logger,
            "version taken up",
            model=version.folder.name,
            version=version.folder.version,
            instead_of=None if before is None else before.folder.version,
        )
        if before is not None:
            task = asyncio.create_task(self._retire(before), name=f"retire-{before.label}")
            self._retirements.add(task)
            task.add_done_callback(self._retirements.discard)

    async def _retire(self, version: ServedVersion) -> None:
        """Let a version end its requests, however long they take, then end its engine."""
        await version.wait_released()
        await version.stop()
        self._models.drop(version)
        log_fields(
            _logger, "version ended", model=version.folder.name, version=version.folder.version
        )
