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
