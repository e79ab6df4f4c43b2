"""Engines that cannot be started for want of file descriptors: refused in words, and tried again.

The descriptors are really used up; processes and sockets are real.
"""

import asyncio
import os
import signal

import pytest

from service.engine.messages import Load
from service.engine_link import engine_launch, engine_supervisor
from service.engine_link.engine_launch import EngineLoadError, launch_engine
from service.engine_link.engine_supervisor import EngineState, EngineSupervisor
from tests.service import faulty_engine_process
from tests.service.descriptors import few_descriptors

LOAD = Load(
    directory="none",
    device="cpu",
    dtype="f32",
    num_threads=1,
    max_running=4,
    max_context_tokens=None,
)


@pytest.mark.parametrize("num_spare", [0, 2], ids=["no socket", "no process"])
def test_an_engine_that_cannot_be_started_is_refused_and_leaves_nothing_open(
    num_spare: int,
) -> None:
    """H92, H101: out of file descriptors, before and after the socket pair was made."""

    async def start() -> None:
        with few_descriptors(num_spare):
            with pytest.raises(EngineLoadError, match=r"none: no engine process .* open files"):
                await launch_engine(LOAD)
            # All of them are free again.
            for descriptor in [os.dup(0) for _ in range(num_spare)]:
                os.close(descriptor)

    asyncio.run(start())


def test_the_watch_goes_on_when_a_successor_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H92, H101: an engine lost while descriptors are short comes back when there are some."""
    monkeypatch.setattr(engine_launch, "ENGINE_MODULE", faulty_engine_process.__name__)
    monkeypatch.setattr(engine_supervisor, "FIRST_PAUSE_SECONDS", 0.01)

    async def lose() -> None:
        changed = asyncio.Event()
        supervisor = EngineSupervisor(
            LOAD, name="none", on_report=lambda _: None, on_change=changed.set
        )

        async def wait_failed(number: int) -> None:
            while supervisor.num_failed_restarts < number:
                await changed.wait()
                changed.clear()

        async def wait_ready() -> None:
            while supervisor.state is not EngineState.READY:
                await changed.wait()
                changed.clear()

        try:
            await supervisor.start()
            process_id = supervisor.process_id
            assert process_id is not None
            with few_descriptors(0):
                os.kill(process_id, signal.SIGKILL)
                await asyncio.wait_for(wait_failed(3), 60)
            await asyncio.wait_for(wait_ready(), 120)
            assert supervisor.process_id not in (None, process_id)
            assert supervisor.num_failed_restarts == 0
        finally:
            await supervisor.stop()

    asyncio.run(lose())


class _JumpingClock(asyncio.SelectorEventLoop):
    """A loop whose clock is set forward, as that of a machine that stood still."""

    jumped = 0.0

    def time(self) -> float:
        return super().time() + self.jumped


def test_an_engine_that_wakes_later_than_its_watch_after_a_standstill_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its silence, and its step, count from the moment at which the watch itself woke."""
    monkeypatch.setattr(engine_launch, "ENGINE_MODULE", faulty_engine_process.__name__)
    monkeypatch.setattr(engine_supervisor, "WATCH_SECONDS", 0.05)

    async def stand_still() -> None:
        changed, reported = asyncio.Event(), asyncio.Event()
        supervisor = EngineSupervisor(
            LOAD, name="none", on_report=lambda _: reported.set(), on_change=changed.set
        )
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _JumpingClock)
        try:
            await supervisor.start()
            process_id = supervisor.process_id
            assert process_id is not None
            os.kill(process_id, signal.SIGSTOP)
            loop.jumped = 3600.0
            changed.clear()
            # The watch looks some ten times meanwhile.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(changed.wait(), 0.5)
            reported.clear()
            os.kill(process_id, signal.SIGCONT)
            await asyncio.wait_for(reported.wait(), 60)
            assert supervisor.process_id == process_id
            # The control: one that stays silent is given up.
            os.kill(process_id, signal.SIGSTOP)
            await asyncio.wait_for(changed.wait(), 60)
            assert supervisor.process_id is None
        finally:
            await supervisor.stop()

    with asyncio.Runner(loop_factory=_JumpingClock) as runner:
        runner.run(stand_still())
