"""Whether the server lives and can take work, for the probes of both transports."""

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass

from service.engine_link.engine_supervisor import EngineState
from service.models.served_models import ServedModels

__all__ = ["Health", "Stage", "Verdict"]

# So long may no engine be ready before the whole process is better restarted from outside.
MAX_UNREADY_SECONDS = 30.0


class Stage(enum.StrEnum):
    """Where the server is in its life."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One probe's answer.

    Attributes:
        status: One word: ok, or what is in the way.
        reason: The same for people, empty where the word says it all.
    """

    is_ok: bool
    status: str
    reason: str = ""


class Health:
    """The server's stage, and what follows from it and from the engines.

    Args:
        models: Judged by what they are at the time of the question; None is none.
    """

    def __init__(self, models: ServedModels | None = None) -> None:
        self._models = models or ServedModels()
        self._stage = Stage.LOADING
        self._has_started = False
        self._listeners: list[Callable[[], None]] = []

    @property
    def stage(self) -> Stage:
        """Where the server is."""
        return self._stage

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
        models = self._models.all
        if not models:
            return Verdict(False, "no_model")
        if not any(model.is_ready for model in models):
            return Verdict(False, "engine_unavailable", "no model has an engine that answers")
        return Verdict(True, "ok")

    def started(self) -> Verdict:
        """Whether loading has ended once; it stays so."""
        return Verdict(self._has_started, "ok" if self._has_started else Stage.LOADING)

    def live(self) -> Verdict:
        """Whether waiting makes sense: false when no engine answers and one fails to come back.

        That is when a restart of it has failed, or it has been gone for 30 seconds. While any other
        model answers this stays true, since a restart of the whole server would end that one's
        streams too; the lost engine is tried again all the time, its requests get 503, and
        nextword_model_ready shows it.
        """
        if any(model.is_ready for model in self._models.all):
            return Verdict(True, "ok")
        now = asyncio.get_running_loop().time()
        for model in self._models.all:
            supervisor = model.supervisor
            if supervisor.state is not EngineState.RESTARTING:
                continue
            if supervisor.num_failed_restarts > 0:
                return Verdict(False, "engine_lost", f"{model.label}: its engine does not restart")
            if now - supervisor.changed_at > MAX_UNREADY_SECONDS:
                reason = f"{model.label}: no engine for {MAX_UNREADY_SECONDS:.0f} seconds"
                return Verdict(False, "engine_lost", reason)
        return Verdict(True, "ok")
