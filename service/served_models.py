"""The models behind a server: a folder and an engine each, looked up by the name a client gives."""

import logging
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.admission import Admission
from service.engine.messages import Heartbeat, Load, StepOutput
from service.engine_client import EngineClient
from service.engine_supervisor import EngineState, EngineSupervisor
from service.errors import ErrorKind, RequestError
from service.logs import log_fields
from service.metrics import Metrics
from service.model_store import ModelFolder

__all__ = ["EngineSettings", "ServedModel", "ServedModels"]

_logger = logging.getLogger(__name__)

_SAFE_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How every engine of a server runs."""

    device: str
    dtype: str
    num_threads: int
    max_running: int
    max_queued: int
    max_context_tokens: int | None


class ServedModel:
    """One model: its folder, its engine, and how much it takes at once."""

    def __init__(
        self,
        folder: ModelFolder,
        settings: EngineSettings,
        *,
        metrics: Metrics,
        on_change: Callable[[], None],
    ) -> None:
        self.folder = folder
        self._settings = settings
        self._metrics = metrics
        self._on_change = on_change
        self._num_holders = 0
        own = folder.artifact.config.max_position_embeddings
        self.context_tokens = min(own, settings.max_context_tokens or own)
        max_requests = settings.max_running + settings.max_queued
        self._admission = Admission(
            max_requests=max_requests, max_tokens=max_requests * (self.context_tokens + 1)
        )
        load = Load(
            directory=str(folder.artifact.directory),
            device=settings.device,
            dtype=settings.dtype,
            num_threads=settings.num_threads,
            max_running=settings.max_running,
            max_context_tokens=self.context_tokens,
        )
        self.supervisor = EngineSupervisor(
            load, name=folder.name, on_report=self._note_report, on_change=self._note_change
        )

    @property
    def is_ready(self) -> bool:
        """Whether it can answer now."""
        return self.supervisor.client is not None

    async def start(self) -> None:
        """Start the engine.

        Raises:
            EngineLoadError: The model cannot be served.
        """
        client = await self.supervisor.start()
        loaded = client.loaded
        name = self.folder.name
        self._metrics.load_seconds.labels(name).set(loaded.load_seconds)
        self._metrics.info.labels(name, self.folder.version, loaded.device, loaded.dtype).set(1)
        log_fields(
            _logger,
            "model ready",
            model=name,
            version=self.folder.version,
            parameters=loaded.num_parameters,
            context_tokens=loaded.context_tokens,
            device=loaded.device,
            dtype=loaded.dtype,
            kv_cache_bytes=loaded.kv_cache_bytes,
            load_seconds=round(loaded.load_seconds, 3),
        )

    @contextmanager
    def held(self) -> Generator["ServedModel", None, None]:
        """Keep the engine for as long as the block runs, even when another version takes over."""
        self._num_holders += 1
        try:
            yield self
        finally:
            self._num_holders -= 1

    @contextmanager
    def admit(self, num_tokens: int) -> Generator[EngineClient, None, None]:
        """Take on a request for as long as the block runs; its value is the engine to ask.

        Args:
            num_tokens: What the request may cost: its prompt and everything it may make.

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
        with self._admission.enter(num_tokens):
            yield client

    def _note_report(self, report: StepOutput | Heartbeat) -> None:
        name = self.folder.name
        # Beats report too: after a cancel there may be no further step.
        self._metrics.running.labels(name).set(report.num_running)
        self._metrics.waiting.labels(name).set(report.num_waiting)
        if isinstance(report, StepOutput):
            self._metrics.batch_size.labels(name).observe(report.num_running)
            self._metrics.step_seconds.labels(name).observe(report.seconds)
            self._admission.note_step(num_tokens=report.num_tokens, seconds=report.seconds)

    def _note_change(self) -> None:
        name = self.folder.name
        self._metrics.is_ready.labels(name).set(self.is_ready)
        self._metrics.engine_restarts.labels(name).set(self.supervisor.num_restarts)
        if not self.is_ready:
            self._metrics.running.labels(name).set(0)
            self._metrics.waiting.labels(name).set(0)
        self._on_change()


class ServedModels:
    """All models of a server; the first is the default.

    Args:
        models: At least one; their names differ.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        assert models
        self._models = {model.folder.name: model for model in models}

    @property
    def all(self) -> list[ServedModel]:
        """The models, the default one first."""
        return list(self._models.values())

    def fail_all(self, error: RequestError) -> None:
        """End every running request of every engine with an error."""
        for model in self.all:
            if (client := model.supervisor.client) is not None:
                client.fail_all(error)

    @property
    def default(self) -> ServedModel:
        """The model of requests that name none."""
        return self.all[0]

    def find(self, name: str | None) -> ServedModel:
        """The model that NAME or NAME@VERSION means; None means the default.

        Raises:
            RequestError: No such model, or no such version of it.
        """
        if name is None:
            return self.default
        base, _, version = name.partition("@")
        model = self._models.get(base)
        if model is None or (version and version != model.folder.version) or name.endswith("@"):
            # What a client sends is repeated only where it cannot be mistaken for anything else.
            shown = f" {name}" if _SAFE_NAME.fullmatch(name) else ""
            raise RequestError(
                ErrorKind.MODEL_NOT_FOUND,
                f"model{shown} is not served; served are: {', '.join(self._models)}",
                field="model",
            )
        return model
