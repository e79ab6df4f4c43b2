"""An engine process: loads the models of one version, then steps their engines for the front.

Started by `service.engine_link.engine_start` with `--socket-fd N`. It ends when the front does: by
the end of the socket between steps, and by the change of its parent during one.
"""

import argparse
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from msgspec.structs import replace

from service.engine.drawn_rows import EndsRunsEarly
from service.engine.engine import Engine
from service.engine.frames import ToEngine
from service.engine.guarded_compute import EngineFailedError
from service.engine.loading import LoadError, build_engine, start_threads
from service.engine.messages import (
    Cancel,
    EngineFinish,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    ModelKind,
    Pause,
    Phase,
    Resume,
    Shutdown,
    StepOutput,
    Submit,
    TokenOutput,
)
from service.engine.ngram_loading import build_ngram_engine
from service.engine.question_desk import QuestionDesk
from service.engine.questions import DropQuestion, Question
from service.engine.request_table import UnsupportedRequestError
from service.engine_link.engine_channel import Channel, FrontGoneError
from service.logs import configure_logs
from service.low_priority import run_at_low_priority

__all__ = ["EngineLoop", "main"]

_logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.25
# The books are checked when no request is here, but not after each of a row of short requests.
SECONDS_BETWEEN_CHECKS = 1.0
# Work is there and no step computes any: unready after the first time, over after the second.
STALLED_SECONDS = 2.0
MAX_STALLED_SECONDS = 5.0
STALLED_PAUSE_SECONDS = 0.01
# Beside a busy network its n-gram model gets so much of the time of the network's steps.
NGRAM_SHARE = 0.2


class EngineLoop:
    """Serves the engines of one version until the front goes.

    Args:
        engines: Of different kinds, the transformer's among them, with one inspection pace.
        channel: To the front.
    """

    def __init__(self, engines: Sequence[Engine], channel: Channel) -> None:
        if any(engine.inspection_pace is not engines[0].inspection_pace for engine in engines):
            raise ValueError("the models of a process must share one inspection pace")
        self._engines = {engine.kind: engine for engine in engines}
        self._channel = channel
        self._desk = QuestionDesk(self._engines[ModelKind.TRANSFORMER], channel.send)
        self._phase = Phase.IDLE
        self._stalled_kinds: set[ModelKind] = set()
        # What the n-gram model took of the network's time and has not made up for.
        self._owed_seconds = 0.0
        self._next_check_at = 0.0
        for engine in engines:
            if isinstance(engine.executor, EndsRunsEarly):
                # Who arrives does not wait for all tokens that the others are getting.
                engine.executor.end_runs_early_for(channel.fileno())

    def run(self) -> NoReturn:
        """Step while there is work, sleep in the socket while there is none.

        Raises:
            FrontGoneError: The front closed the socket or asked to leave.
            EngineFailedError, ConservationError: This process is of no use any more.
        """
        threading.Thread(target=self._beat, daemon=True).start()
        while True:
            self.work()

    def work(self) -> None:
        """Take in what the front has sent, then let each model make a step that has its turn."""
        for message in self._channel.receive(wait_seconds=self._seconds_to_work()):
            self._obey(message)
        engines = self._engines.values()
        for engine in engines:
            if engine.seconds_to_work() == 0.0 and self._has_turn(engine):
                self._step(engine)
        self._desk.work()
        is_empty = all(engine.is_empty for engine in engines)
        if is_empty and time.monotonic() >= self._next_check_at:
            for engine in engines:
                engine.check_conservation()
            self._next_check_at = time.monotonic() + SECONDS_BETWEEN_CHECKS

    def _has_turn(self, engine: Engine) -> bool:
        network = self._engines[ModelKind.TRANSFORMER]
        return engine is network or not network.has_work or self._owed_seconds <= 0.0

    def _obey(self, message: ToEngine) -> None:
        match message:
            case Submit():
                self._submit(message)
            case Cancel(request_id, choice):
                for engine in self._engines.values():
                    engine.cancel(request_id, choice=choice)
            case Pause(request_id):
                self._set_paused(request_id, is_paused=True)
            case Resume(request_id):
                self._set_paused(request_id, is_paused=False)
            case Question() | DropQuestion():
                self._desk.take(message)
            case Shutdown():
                raise FrontGoneError
            case Load():
                raise AssertionError("an engine process loads one version")

    def _set_paused(self, request_id: int, *, is_paused: bool) -> None:
        for engine in self._engines.values():
            engine.set_paused(request_id, is_paused=is_paused)

    def _seconds_to_work(self) -> float | None:
        if self._desk.has_work:
            return 0.0
        # A stalled engine looks again and again, but lets others have the processor.
        seconds = [
            STALLED_PAUSE_SECONDS if engine.stalled_seconds > 0.0 else engine.seconds_to_work()
            for engine in self._engines.values()
        ]
        return min((each for each in seconds if each is not None), default=None)

    def _step(self, engine: Engine) -> None:
        if not self._stalled_kinds:
            self._phase = Phase.STEPPING
        output = engine.step()
        self._note_time(output)
        stalled_seconds = engine.stalled_seconds
        if stalled_seconds == 0.0:
            # A step without any work is no news; the front takes each step for progress.
            self._channel.send(output)
            if engine.kind is ModelKind.TRANSFORMER:
                self._desk.note_step(output)
        if stalled_seconds <= STALLED_SECONDS:
            self._stalled_kinds.discard(engine.kind)
        elif engine.kind not in self._stalled_kinds:
            self._stalled_kinds.add(engine.kind)
            _logger.error("requests wait and nothing is computed: %s", engine.describe())
        if stalled_seconds > MAX_STALLED_SECONDS:
            raise EngineFailedError("requests wait and nothing is computed")
        self._phase = Phase.STALLED if self._stalled_kinds else Phase.IDLE

    def _note_time(self, output: StepOutput) -> None:
        if len(self._engines) == 1:
            # Nobody else's steps are to be made up for.
            return
        if not self._engines[ModelKind.TRANSFORMER].has_work:
            self._owed_seconds = 0.0
        elif output.kind is ModelKind.NGRAM:
            self._owed_seconds += output.seconds
        else:
            self._owed_seconds = max(0.0, self._owed_seconds - NGRAM_SHARE * output.seconds)

    def _submit(self, request: Submit) -> None:
        engine = self._engines.get(request.kind)
        try:
            if engine is None:
                raise UnsupportedRequestError(f"there is no model of kind {request.kind} here")
            engine.submit(request)
        except UnsupportedRequestError:
            # The front offers nothing of the kind, so this is a bug; it ends one request only.
            _logger.exception("request %d", request.request_id)
            refusal = TokenOutput(request.request_id, 0, [], EngineFinish.INTERNAL_ERROR)
            engine = engine or self._engines[ModelKind.TRANSFORMER]
            self._channel.send(
                StepOutput(
                    step=engine.step_number,
                    outputs=[refusal],
                    started_ids=[],
                    num_running=engine.num_running,
                    num_waiting=engine.num_waiting,
                    num_tokens=0,
                    seconds=0.0,
                    num_free_blocks=engine.num_free_blocks,
                    num_blocks=engine.num_blocks,
                    counters=engine.counters,
                    kind=engine.kind,
                )
            )

    def _beat(self) -> None:
        parent = os.getppid()
        while os.getppid() == parent:
            try:
                for engine in self._engines.values():
                    self._channel.send(
                        Heartbeat(
                            step=engine.step_number,
                            phase=self._phase,
                            num_running=engine.num_running,
                            num_waiting=engine.num_waiting,
                            num_free_blocks=engine.num_free_blocks,
                            num_blocks=engine.num_blocks,
                            counters=engine.counters,
                            kind=engine.kind,
                        )
                    )
            except OSError:
                break
            time.sleep(HEARTBEAT_SECONDS)
        # The front is gone while the main thread may be deep in a step.
        os._exit(0)


def _build_engines(load: Load) -> tuple[list[Engine], Loaded]:
    """The engines of a version, the network's first.

    Raises:
        LoadError: One of its models cannot be served.
    """
    engine, loaded = build_engine(load)
    if load.ngram_cache_tokens is None:
        return [engine], loaded
    ngram, sibling = build_ngram_engine(
        load, context_tokens=loaded.context_tokens, inspection_pace=engine.inspection_pace
    )
    return [engine, ngram], replace(loaded, sibling=sibling)


def main() -> int:
    """Run the engines of a version until the front goes; 1 when its model could not be loaded."""
    parser = argparse.ArgumentParser(description="Internal: started by nextword-serve.")
    parser.add_argument("--socket-fd", type=int, required=True)
    descriptor: int = parser.parse_args().socket_fd
    configure_logs(source="engine")
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        (load,) = channel.receive(wait_seconds=None)
        assert isinstance(load, Load)
        try:
            # A version that is to replace another leaves the processor to those who serve.
            start_threads(load)
            build = partial(_build_engines, load)
            engines, loaded = run_at_low_priority(build) if load.in_background else build()
        except LoadError as error:
            channel.send(LoadFailed(f"{load.directory}: {error}"))
            return 1
        channel.send(loaded)
        # What is here stays: looking through it for garbage would stop a step for 0.1 seconds.
        gc.collect()
        gc.freeze()
        EngineLoop(engines, channel).run()
    except (FrontGoneError, BrokenPipeError, ConnectionResetError):
        return 0
    except Exception:
        # The end of this process is what tells the front: it answers every client and starts anew.
        _logger.exception("the engine failed")
        return 1


if __name__ == "__main__":
    sys.exit(main())
