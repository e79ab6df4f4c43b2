"""Whether the server lives and can take work, for the probes of both transports."""

import asyncio
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.engine_supervisor import EngineState
from service.served_models import ServedModel, ServedModels

__all__ = ["Health", "Stage", "Verdict"]

# So long may no engine be ready before the whole process is better restarted from outside.
MAX_UNREADY_SECONDS = 60.0


class Stage(enum.StrEnum):
    """Where the server is in its life."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One probe's answer."""

    is_ok: bool
    status: str


class Health:
    """The server's stage, and what follows from it and from the engines."""

    def __init__(self) -> None:
        self._models: Sequence[ServedModel] = ()
        self._stage = Stage.LOADING
        self._has_started = False
        self._listeners: list[Callable[[], None]] = []

    @property
    def stage(self) -> Stage:
        """Where the server is."""
        return self._stage

    def watch(self, models: ServedModels) -> None:
        """Judge by these models from now on."""
        self._models = models.all

    def enter(self, stage: Stage) -> None:
        """Move on."""
        self._stage = stage
        self._has_started = self._has_started or stage is Stage.SERVING
        self.notify()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call the listener after every change that may change a verdict."""
        self._listeners.append(listener)

    def notify(self) -> None:
        """Something has changed."""
        for listener in self._listeners:
            listener()

    def ready(self) -> Verdict:
        """Whether new requests are taken: past loading, not leaving, and a model can answer."""
        if self._stage is not Stage.SERVING:
            return Verdict(False, self._stage)
        if not any(model.is_ready for model in self._models):
            return Verdict(False, "engine_unavailable")
        return Verdict(True, "ok")

    def started(self) -> Verdict:
        """Whether loading has ended once; it stays so."""
        return Verdict(self._has_started, "ok" if self._has_started else Stage.LOADING)

    def live(self) -> Verdict:
        """Whether waiting still makes sense: false when engines fail to come back."""
        now = asyncio.get_running_loop().time()
        for model in self._models:
            supervisor = model.supervisor
            if (
                supervisor.state is EngineState.RESTARTING
                and now - supervisor.changed_at > MAX_UNREADY_SECONDS
            ):
                return Verdict(False, "engine_lost")
        return Verdict(True, "ok")
