"""One version of a model behind a server: its folder, its engine, and how much it takes on.

A request keeps the object that it found until its end, so a version that has been replaced still
answers whom it has begun to answer.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager

from service.admission import Admission
from service.engine.messages import Heartbeat, Loaded, StepOutput, Submit
from service.engine_client import EngineClient
from service.engine_figures import EngineFigures
from service.engine_launch import EngineLoadError
from service.engine_plan import EnginePlan
from service.engine_supervisor import EngineState, EngineSupervisor
from service.errors import ErrorKind, RequestError
from service.logs import log_fields
from service.memory_use import MemoryBudget, MemoryClaim
from service.model_store import ModelFolder

__all__ = ["ServedModel"]

_logger = logging.getLogger(__name__)

TRIAL_SECONDS = 60.0


class ServedModel:
    """One version of one model.

    Args:
        folder: What is served.
        plan: How its engine runs.
        budget: The memory that all engines share.
        figures: What the engine reports to.
        on_change: Called when readiness may have changed.

    Attributes:
        context_tokens: Longest text.
        loaded: What the engine said of itself, None before it was loaded.
        supervisor: Its engine.
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
        self.context_tokens = plan.context_tokens
        self.loaded: Loaded | None = None
        self._budget = budget
        self._claim: MemoryClaim | None = None
        self._on_change = on_change
        self._num_holders = 0
        self._released = asyncio.Event()
        self._released.set()
        self._reporter = figures.reporter(folder.name, folder.version, lambda: self.is_ready)
        self._admission = Admission(
            max_requests=plan.max_requests,
            max_tokens=plan.max_tokens,
            on_refusal=self._reporter.note_not_admitted,
        )
        self.supervisor = EngineSupervisor(
            plan.load,
            name=self.label,
            on_report=self._note_report,
            on_change=self._note_change,
        )

    @property
    def label(self) -> str:
        """NAME@VERSION."""
        return f"{self.folder.name}@{self.folder.version}"

    @property
    def is_ready(self) -> bool:
        """Whether it can answer now."""
        return self.supervisor.client is not None

    async def start(self, *, in_background: bool = False) -> Loaded:
        """Start the engine.

        Args:
            in_background: Load it at the lowest priority, since others are serving.

        Raises:
            MemoryRefusedError: There is no room for it.
            EngineLoadError: The model cannot be served.
        """
        claim = self._budget.claim(self.plan.needed_bytes, lambda: self.supervisor.process_id)
        try:
            client = await self.supervisor.start(in_background=in_background)
        except BaseException:
            self._budget.release(claim)
            raise
        self._claim = claim
        loaded = client.loaded
        if self.plan.note is not None:
            _logger.warning("%s: %s", self.label, self.plan.note)
        log_fields(
            _logger,
            "model ready",
            model=self.folder.name,
            version=self.folder.version,
            parameters=loaded.num_parameters,
            context_tokens=self.context_tokens,
            device=loaded.device,
            dtype=loaded.dtype,
            executor=loaded.executor,
            kv_cache_tokens=loaded.num_blocks * loaded.kv_block_tokens,
            kv_cache_bytes=loaded.kv_cache_bytes,
            resident_bytes=loaded.resident_bytes,
            load_seconds=round(loaded.load_seconds, 3),
        )
        return loaded

    async def stop(self) -> None:
        """End the engine and give its memory back."""
        await self.supervisor.stop()
        if self._claim is not None:
            self._budget.release(self._claim)
            self._claim = None
        self._reporter.note_ended()

    async def try_out(self, num_tokens: int) -> list[int]:
        """Let the engine make some tokens, as a request would.

        Raises:
            EngineLoadError: It could not.
        """
        client = self.supervisor.client
        submit = Submit(
            request_id=0,
            prompt_ids=[0],
            max_tokens=min(num_tokens, self.context_tokens),
            temperature=1.0,
            seed=secrets.randbits(32),
        )
        token_ids: list[int] = []
        try:
            if client is None:
                raise EngineLoadError("the engine was lost")
            deadline = asyncio.get_running_loop().time() + TRIAL_SECONDS
            with client.open(submit, deadline=deadline) as stream:
                async for batch in stream:
                    token_ids += batch.token_ids
        except RequestError as error:
            raise EngineLoadError(f"{self.label}: a trial failed: {error}") from None
        return token_ids

    @contextmanager
    def held(self) -> Generator["ServedModel", None, None]:
        """Keep the engine for as long as the block runs, even when another version takes over."""
        self._num_holders += 1
        self._released.clear()
        try:
            yield self
        finally:
            self._num_holders -= 1
            if self._num_holders == 0:
                self._released.set()

    async def wait_released(self) -> None:
        """Return when nobody holds it."""
        while self._num_holders:
            await self._released.wait()

    @contextmanager
    def admit(
        self, num_tokens: int, *, num_prompts: int = 1, held_tokens: int = 0
    ) -> Generator[EngineClient, None, None]:
        """Take on a request for as long as the block runs; its value is the engine to ask.

        Args:
            num_tokens: What the request may cost: its prompt and everything it may make.
            num_prompts: Requests of its call, which are admitted together or not at all.
            held_tokens: What those of them may cost that were admitted before.

        Raises:
            RequestError: The engine is loading, lost or full, or the cost is above any limit.
        """
        client = self.supervisor.client
        if client is None:
            if self.supervisor.state is EngineState.LOADING:
                raise RequestError(
                    ErrorKind.MODEL_LOADING, "the model is loading", retry_after_seconds=2
                )
            raise RequestError(
                ErrorKind.ENGINE_UNAVAILABLE,
                "the engine was lost and is being restarted",
                retry_after_seconds=2,
            )
        with self._admission.enter(num_tokens, num_prompts=num_prompts, held_tokens=held_tokens):
            yield client

    def _note_report(self, report: StepOutput | Heartbeat) -> None:
        self._reporter.note_report(report)
        if isinstance(report, StepOutput):
            self._admission.note_step(num_tokens=report.num_tokens, seconds=report.seconds)

    def _note_change(self) -> None:
        client = self.supervisor.client
        if client is not None and client.loaded is not self.loaded:
            self.loaded = client.loaded
            self._reporter.note_loaded(client.loaded)
        self._reporter.note_change(num_restarts=self.supervisor.num_restarts)
        self._on_change()
