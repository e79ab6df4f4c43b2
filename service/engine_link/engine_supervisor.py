"""Keeps one model's engine process alive: starts it, watches its heartbeat, starts it again.

Torch-free. A process that is silent, or busy in one step for too long, is killed; its clients get
an error at once, and the next process starts after a growing pause.
"""

import asyncio
import enum
import logging
from collections.abc import Callable

from service.engine.messages import Heartbeat, Load, Phase, StepOutput
from service.engine_link.engine_client import EngineClient
from service.engine_link.engine_launch import EngineLoadError, launch_engine
from service.errors import RequestError

__all__ = ["EngineState", "EngineSupervisor"]

_logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.5
# Beats come four times a second from a thread of their own, so silence means a stopped or dead
# process, never a long step.
MAX_SILENCE_SECONDS = 3.0
# One step of the largest chunk; only a deadlock or an endless kernel takes longer.
MAX_STEP_SECONDS = 60.0
# Requests wait and none is computed: readiness is gone at once, the process after this time.
MAX_STALL_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
# An engine that served for so long is no crash loop: the pause begins again at its shortest.
STABLE_SECONDS = 60.0


class EngineState(enum.StrEnum):
    """Where an engine is in its life."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


class EngineSupervisor:
    """One model's engine, through all its processes.

    Args:
        load: What to load.
        name: For the log.
        on_report: Called with the figures of each step and beat.
        on_change: Called after each change of state.

    Attributes:
        state: Where the engine is.
        changed_at: Loop time of the last change of state.
        num_restarts: Processes started after the first.
        num_failed_restarts: How many of the last of them could not load the model.
    """

    def __init__(
        self,
        load: Load,
        *,
        name: str,
        on_report: Callable[[StepOutput | Heartbeat], None],
        on_change: Callable[[], None],
    ) -> None:
        self.state = EngineState.LOADING
        self.num_restarts = 0
        self.num_failed_restarts = 0
        self.changed_at = asyncio.get_running_loop().time()
        self._load = load
        self._name = name
        self._on_report = on_report
        self._on_change = on_change
        self._client: EngineClient | None = None
        self._stalled_at: float | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def client(self) -> EngineClient | None:
        """The running process, None while there is none that is ready."""
        is_ready = self.state is EngineState.READY and self._stalled_at is None
        return self._client if is_ready else None

    @property
    def process_id(self) -> int | None:
        """The running process's id."""
        is_running = self.state is EngineState.READY and self._client is not None
        return self._client.process_id if is_running and self._client is not None else None

    async def start(self, *, in_background: bool = False) -> EngineClient:
        """Start the first process and, from then on, its successors.

        Args:
            in_background: Load the first one at the lowest priority.

        Raises:
            EngineLoadError: The model cannot be served.
        """
        client = await self._launch(in_background=in_background)
        self._watching = asyncio.create_task(self._watch(), name=f"engine-watch-{self._name}")
        return client

    def fail_all(self, error: RequestError) -> None:
        """End every request of the running process, of one too that takes no new ones."""
        if self._client is not None:
            self._client.fail_all(error)

    async def stop(self) -> None:
        """End the process for good."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        self._enter(EngineState.STOPPED)
        if self._client is not None:
            await self._client.close(gently=True)

    async def _launch(self, *, in_background: bool = False) -> EngineClient:
        connection = await launch_engine(self._load, in_background=in_background)
        self._client = EngineClient(connection, on_report=self._note_report)
        self._stalled_at = None
        self._enter(EngineState.READY)
        return self._client

    async def _watch(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            assert self._client is not None
            reason = await self._wait_for_trouble(self._client)
            served_seconds = asyncio.get_running_loop().time() - self.changed_at
            if served_seconds > STABLE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            _logger.error("engine of %s: %s; restarting", self._name, reason)
            self._enter(EngineState.RESTARTING)
            await self._client.close(gently=False)
            while True:
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
                self.num_restarts += 1
                try:
                    await self._launch()
                    self.num_failed_restarts = 0
                    break
                except EngineLoadError as error:
                    self.num_failed_restarts += 1
                    _logger.error("engine of %s: %s", self._name, error)
                    self._on_change()

    async def _wait_for_trouble(self, client: EngineClient) -> str:
        """Return what is wrong with a process, once something is."""
        loop = asyncio.get_running_loop()
        lost = asyncio.create_task(client.wait_lost())
        woke_at = now = loop.time()
        try:
            while True:
                before = now
                await asyncio.wait([lost], timeout=WATCH_SECONDS)
                if lost.done():
                    return "its process ended"
                now = loop.time()
                if now - before > 2 * WATCH_SECONDS:
                    # We slept ourselves, as when the machine stood still. Beats may lie unread, and
                    # the engine gets all of its time again: it may wake later than we do.
                    woke_at = now
                    continue
                silent_seconds = now - max(client.last_heard_at, woke_at)
                if silent_seconds > MAX_SILENCE_SECONDS:
                    return f"silent for {silent_seconds:.1f} seconds"
                if (
                    self._stalled_at is not None
                    and now - max(self._stalled_at, woke_at) > MAX_STALL_SECONDS
                ):
                    return f"computes nothing for {MAX_STALL_SECONDS:.0f} seconds while some wait"
                step_seconds = now - max(client.step_changed_at, woke_at)
                if step_seconds > MAX_STEP_SECONDS:
                    return f"in one step for {step_seconds:.0f} seconds"
        finally:
            lost.cancel()

    def _note_report(self, report: StepOutput | Heartbeat) -> None:
        was_stalled = self._stalled_at is not None
        is_stalled = isinstance(report, Heartbeat) and report.phase is Phase.STALLED
        if is_stalled != was_stalled:
            self._stalled_at = asyncio.get_running_loop().time() if is_stalled else None
            if is_stalled:
                _logger.error("engine of %s is stalled: %s", self._name, report)
            self._on_change()
        self._on_report(report)

    def _enter(self, state: EngineState) -> None:
        self.state = state
        self.changed_at = asyncio.get_running_loop().time()
        self._on_change()
