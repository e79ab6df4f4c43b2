"""One version of a name: its engine process, and the models in it that requests can name.

A version that has been replaced still answers whom it has begun to answer.
"""

import logging
from collections.abc import Callable

from service.engine.messages import Heartbeat, ModelKind, StepOutput
from service.engine_link.engine_figures import EngineFigures
from service.engine_link.engine_plan import EnginePlan
from service.engine_link.engine_supervisor import EngineSupervisor
from service.logs import log_fields
from service.memory_use import MemoryBudget, MemoryClaim
from service.models.model_store import ModelFolder
from service.models.ngram_sibling import sibling_folder
from service.models.served_model import ServedModel
from service.models.version_holders import VersionHolders

__all__ = ["ServedVersion"]

_logger = logging.getLogger(__name__)


class ServedVersion:
    """One version of one name.

    Args:
        folder: What is served.
        plan: How its engine process runs.
        budget: The memory that all engines share.
        figures: What the engines report to.
        on_change: Called when readiness may have changed.

    Attributes:
        folder: The same.
        plan: The same.
        supervisor: Its engine process.
        model: Its network.
        ngram: Its n-gram model, None where it has none.
    """

    def __init__(
        self,
        folder: ModelFolder,
        plan: EnginePlan,
        *,
        budget: MemoryBudget,
        figures: EngineFigures,
        on_change: Callable[[], None],
    ) -> None:
        self.folder = folder
        self.plan = plan
        self._budget = budget
        self._claim: MemoryClaim | None = None
        self._on_change = on_change
        self._holders = VersionHolders()
        self.supervisor = EngineSupervisor(
            plan.load,
            name=self.label,
            on_report=self._note_report,
            on_change=self._note_change,
        )

        def new_model(folder: ModelFolder, plan: EnginePlan, kind: ModelKind) -> ServedModel:
            return ServedModel(
                folder,
                plan,
                kind=kind,
                supervisor=self.supervisor,
                holders=self._holders,
                figures=figures,
            )

        self.model = new_model(folder, plan, ModelKind.TRANSFORMER)
        self.ngram: ServedModel | None = None
        if plan.ngram is not None:
            self.ngram = new_model(sibling_folder(folder), plan.ngram, ModelKind.NGRAM)

    @property
    def label(self) -> str:
        """NAME@VERSION."""
        return f"{self.folder.name}@{self.folder.version}"

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """What requests can name, the network first."""
        return (self.model,) if self.ngram is None else (self.model, self.ngram)

    async def start(self, *, in_background: bool = False) -> None:
        """Start the engine process.

        Args:
            in_background: Load it at the lowest priority, since others are serving.

        Raises:
            MemoryRefusedError: There is no room for it.
            EngineLoadError: A model of it cannot be served.
        """
        claim = self._budget.claim(self.plan.needed_bytes, lambda: self.supervisor.process_id)
        try:
            client = await self.supervisor.start(in_background=in_background)
        except BaseException:
            self._budget.release(claim)
            raise
        self._claim = claim
        if self.plan.note is not None:
            _logger.warning("%s: %s", self.label, self.plan.note)
        for model in self.models:
            loaded = client.loaded_of(model.kind)
            log_fields(
                _logger,
                "model ready",
                model=model.folder.name,
                version=model.folder.version,
                parameters=loaded.num_parameters,
                context_tokens=model.context_tokens,
                device=loaded.device,
                dtype=loaded.dtype,
                executor=loaded.executor,
                kv_cache_tokens=loaded.num_blocks * loaded.kv_block_tokens,
                kv_cache_bytes=loaded.kv_cache_bytes,
                resident_bytes=loaded.resident_bytes,
                load_seconds=round(loaded.load_seconds, 3),
            )

    async def stop(self) -> None:
        """End the engine process and give its memory back."""
        await self.supervisor.stop()
        if self._claim is not None:
            self._budget.release(self._claim)
            self._claim = None
        for model in self.models:
            model.note_ended()

    async def try_out(self, num_tokens: int) -> None:
        """Let each model make some tokens, as a request would.

        Raises:
            EngineLoadError: One could not.
        """
        for model in self.models:
            await model.try_out(num_tokens)

    async def wait_released(self) -> None:
        """Return when no request holds it."""
        await self._holders.wait_released()

    def _note_report(self, report: StepOutput | Heartbeat) -> None:
        for model in self.models:
            if model.kind is report.kind:
                model.note_report(report)

    def _note_change(self) -> None:
        for model in self.models:
            model.note_change()
        self._on_change()
