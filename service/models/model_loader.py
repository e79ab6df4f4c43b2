"""From a folder to a running engine: verify, plan, start; the same at the start and for a swap.

What is found wrong on the way is one exception with a word for the metric and a reason for people.
"""

import enum
from collections.abc import Callable
from functools import partial
from pathlib import Path

from service.daemon_thread import in_daemon_thread
from service.engine_link.engine_figures import EngineFigures
from service.engine_link.engine_launch import EngineLoadError
from service.engine_link.engine_plan import EnginePlan, plan_engine
from service.memory_use import MemoryBudget, MemoryRefusedError
from service.models.model_store import ModelFolder, StoreError, read_folder
from service.models.served_version import ServedVersion
from service.settings import Settings

__all__ = ["ModelLoader", "Refusal", "VersionRefusedError"]

# So many tokens a new version makes before anybody is sent to it.
TRIAL_TOKENS = 8


class Refusal(enum.StrEnum):
    """Why a version is not served."""

    DAMAGED = "damaged"
    UNFIT = "unfit"
    NO_MEMORY = "no_memory"
    NOT_LOADED = "not_loaded"


class VersionRefusedError(Exception):
    """A version cannot be served; the text is one line for the operator.

    Attributes:
        refusal: Why.
        needed_bytes: Memory that it lacks, for NO_MEMORY.
    """

    def __init__(self, refusal: Refusal, reason: str, *, needed_bytes: int = 0) -> None:
        super().__init__(reason)
        self.refusal = refusal
        self.reason = reason
        self.needed_bytes = needed_bytes


class ModelLoader:
    """Makes served versions out of folders.

    Args:
        settings: How every engine runs.
        num_shares: Models that --kv-cache-memory is shared by.
        budget: The memory that all engines share.
        figures: What the engines report to.
        on_change: Called when the readiness of any may have changed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        num_shares: int,
        budget: MemoryBudget,
        figures: EngineFigures,
        on_change: Callable[[], None],
    ) -> None:
        self.budget = budget
        self._settings = settings
        self._kv_cache_bytes = settings.kv_cache_memory // max(1, num_shares)
        self._figures = figures
        self._on_change = on_change

    async def load(
        self, directory: Path, *, name: str | None = None, in_background: bool = False
    ) -> ServedVersion:
        """Verify a folder and start its engine, which then has made a few tokens.

        Args:
            directory: The artifact.
            name: Name to serve it under; None is its own.
            in_background: Load at the lowest priority, since others are serving.

        Raises:
            VersionRefusedError: It cannot be served.
        """
        # Whether it fits is seen from the sizes alone, before gigabytes are hashed in vain.
        folder = await self._read(directory, name, verify=False)
        self._check_memory(self._plan(folder))
        folder = await self._read(directory, name, verify=True)
        version = ServedVersion(
            folder,
            self._plan(folder),
            budget=self.budget,
            figures=self._figures,
            on_change=self._on_change,
        )
        try:
            await version.start(in_background=in_background)
            await version.try_out(TRIAL_TOKENS)
        except MemoryRefusedError as error:
            await version.stop()
            raise _no_memory(error, version.plan) from None
        except EngineLoadError as error:
            await version.stop()
            reason = str(error).replace(version.plan.load.directory, version.label)
            raise VersionRefusedError(Refusal.NOT_LOADED, reason) from None
        except BaseException:
            await version.stop()
            raise
        return version

    async def _read(self, directory: Path, name: str | None, *, verify: bool) -> ModelFolder:
        try:
            return await in_daemon_thread(partial(read_folder, directory, name=name, verify=verify))
        except StoreError as error:
            raise VersionRefusedError(Refusal.DAMAGED, _without_place(error, directory)) from None

    def _plan(self, folder: ModelFolder) -> EnginePlan:
        try:
            return plan_engine(folder, self._settings, kv_cache_bytes=self._kv_cache_bytes)
        except StoreError as error:
            raise VersionRefusedError(Refusal.UNFIT, str(error)) from None

    def _check_memory(self, plan: EnginePlan) -> None:
        try:
            self.budget.check(plan.needed_bytes)
        except MemoryRefusedError as error:
            raise _no_memory(error, plan) from None


def _no_memory(error: MemoryRefusedError, plan: EnginePlan) -> VersionRefusedError:
    return VersionRefusedError(Refusal.NO_MEMORY, str(error), needed_bytes=plan.needed_bytes)


def _without_place(error: Exception, directory: Path) -> str:
    """A reason that clients may read too: without the path of the store."""
    text = str(error)
    for place in (directory, directory.resolve()):
        text = text.replace(f"{place}/", "").replace(str(place), directory.name)
    return text
