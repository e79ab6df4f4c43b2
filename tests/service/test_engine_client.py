"""Requests into an engine process, from its other end."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest

from service.engine.frames import encode_frame
from service.engine.messages import (
    EngineFinish,
    Heartbeat,
    Load,
    Loaded,
    Phase,
    StepCounters,
    StepOutput,
    Submit,
    TokenOutput,
)
from service.engine_link import engine_supervisor
from service.engine_link.engine_client import EngineClient
from service.engine_link.engine_launch import EngineConnection
from service.engine_link.engine_socket import EngineSocket
from service.engine_link.engine_supervisor import EngineSupervisor
from service.errors import ErrorKind, RequestError
from service.models.served_models import ServedModels, ServedVersion
from service.outlet import Outlet
from service.token_stream import TokenStream
from tests.service.store_scene import Folder

PATIENCE_SECONDS = 20.0
LOADED = Loaded(
    context_tokens=64,
    num_parameters=0,
    device="cpu",
    dtype="float32",
    kv_cache_bytes=0,
    load_seconds=0.0,
    kv_block_tokens=16,
    num_blocks=4,
    executor="eager",
    deterministic=True,
    resident_bytes=0,
)


SUBMIT = Submit(request_id=0, prompt_ids=[1], max_tokens=1)
LEAVING = RequestError(ErrorKind.DRAINING, "leaving")


def step_output(outputs: list[TokenOutput]) -> StepOutput:
    return StepOutput(
        step=1,
        outputs=outputs,
        started_ids=[],
        num_running=len(outputs),
        num_waiting=0,
        num_tokens=len(outputs),
        seconds=0.0,
        num_free_blocks=0,
        num_blocks=4,
        counters=StepCounters(),
    )


@dataclass(frozen=True)
class Model:
    """What ending all requests needs of a served model."""

    folder: Folder
    supervisor: EngineSupervisor
    label: str = "tiny@1"


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[EngineConnection, socket.socket]]:
    """A connection to a process that has nothing to say, and the end from which it would speak."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220
    with theirs:
        yield EngineConnection(process, await EngineSocket.open(ours), LOADED), theirs


def test_a_request_that_opens_after_all_were_ended_ends_the_same_way() -> None:
    """H106: accepted before the drain time was over, and submitted after it."""

    async def body() -> None:
        async with connected() as (connection, _):
            client = EngineClient(connection, on_report=lambda report: None)
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            with client.open(SUBMIT, deadline=deadline) as stream:
                client.fail_all(LEAVING)
                with pytest.raises(RequestError) as running:
                    await anext(stream)
            with pytest.raises(RequestError) as late:
                client.open(SUBMIT, deadline=deadline)
            assert running.value.kind is late.value.kind is ErrorKind.DRAINING
            assert client.num_streams == 0
            await client.close(gently=False)

    asyncio.run(asyncio.wait_for(body(), PATIENCE_SECONDS))


def test_requests_of_an_engine_that_has_stalled_end_with_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H106: it takes no new requests at that moment, but those that it has wait for an end."""
    load = Load(
        directory="none",
        device="cpu",
        dtype="f32",
        num_threads=1,
        max_running=4,
        max_context_tokens=None,
    )
    beat = Heartbeat(
        step=1,
        phase=Phase.STALLED,
        num_running=0,
        num_waiting=1,
        num_free_blocks=0,
        num_blocks=4,
        counters=StepCounters(
            num_reused_tokens=0, num_preemptions=0, num_chunked_prompts=0, num_mixed_steps=0
        ),
    )

    async def body() -> None:
        async with connected() as (connection, engine):

            async def launch(load: Load, *, in_background: bool) -> EngineConnection:
                return connection

            monkeypatch.setattr(engine_supervisor, "launch_engine", launch)
            changed = asyncio.Event()
            supervisor = EngineSupervisor(
                load, name="tiny", on_report=lambda report: None, on_change=changed.set
            )
            models = ServedModels()
            models.open([cast("ServedVersion", Model(Folder("tiny", "1"), supervisor))], [])
            client = await supervisor.start()
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            with client.open(SUBMIT, deadline=deadline) as stream:
                engine.sendall(encode_frame(beat))
                while supervisor.client is not None:
                    changed.clear()
                    await changed.wait()
                models.fail_all(LEAVING)
                with pytest.raises(RequestError) as caught:
                    await anext(stream)
            assert caught.value.kind is ErrorKind.DRAINING
            engine.shutdown(socket.SHUT_RDWR)
            await supervisor.stop()

    asyncio.run(asyncio.wait_for(body(), PATIENCE_SECONDS))


def test_a_message_that_cannot_be_taken_is_logged_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """H45: a fault in one place of the front is no fault of the engine."""

    def fail_once(report: StepOutput | Heartbeat) -> None:
        if isinstance(report, StepOutput) and report.outputs[0].token_ids == [5]:
            raise ValueError("no such label")

    async def body() -> None:
        async with connected() as (connection, engine):
            client = EngineClient(connection, on_report=fail_once)
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            with client.open(SUBMIT, deadline=deadline) as stream:
                frames = [encode_frame(step_output([TokenOutput(1, 0, [id])])) for id in (5, 6)]
                engine.sendall(b"".join(frames))
                # Its tokens are told all the same.
                assert (await anext(stream)).token_ids == [5, 6]
            await client.close(gently=False)

    asyncio.run(asyncio.wait_for(body(), PATIENCE_SECONDS))
    assert "no such label" in caplog.text


def test_a_message_that_no_serving_engine_sends_is_the_end_of_it() -> None:
    async def body() -> None:
        async with connected() as (connection, engine):
            client = EngineClient(connection, on_report=lambda report: None)
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            with client.open(SUBMIT, deadline=deadline) as stream:
                engine.sendall(encode_frame(LOADED))
                with pytest.raises(RequestError) as lost:
                    await anext(stream)
            assert lost.value.kind is ErrorKind.ENGINE_UNAVAILABLE
            await client.close(gently=False)

    asyncio.run(asyncio.wait_for(body(), PATIENCE_SECONDS))


def test_what_comes_for_an_open_outlet_goes_there_and_as_one_where_it_came_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    num_delivered = 0
    deliver = TokenStream.deliver

    def counted(stream: TokenStream, output: TokenOutput) -> None:
        nonlocal num_delivered
        num_delivered += 1
        deliver(stream, output)

    monkeypatch.setattr(TokenStream, "deliver", counted)

    async def body() -> None:
        taken: list[list[int]] = []
        has_taken = asyncio.Event()

        def put(output: TokenOutput) -> None:
            taken.append(output.token_ids)
            has_taken.set()

        async with connected() as (connection, engine):
            client = EngineClient(connection, on_report=lambda report: None)
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            with client.open(SUBMIT, deadline=deadline) as stream:
                stream.note_started()
                stream.outlet = Outlet(lambda: True, put)
                reading = asyncio.ensure_future(anext(stream))
                for ids in ((5,), (6, 7)):
                    await asyncio.sleep(0)
                    frames = [encode_frame(step_output([TokenOutput(1, 0, [id])])) for id in ids]
                    engine.sendall(b"".join(frames))
                    await has_taken.wait()
                    has_taken.clear()
                last = TokenOutput(1, 0, [8], EngineFinish.LENGTH)
                engine.sendall(encode_frame(step_output([last])))
                # The reader learns of the end by itself.
                assert await reading == last
            assert taken == [[5], [6, 7]]
            # What came alone had nothing to wait for.
            assert num_delivered == 3
            await client.close(gently=False)

    asyncio.run(asyncio.wait_for(body(), PATIENCE_SECONDS))


def test_tokens_that_cannot_be_told_end_their_own_request_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """H45: with a fault of the front, as of the figures that it keeps."""
    deliver = TokenStream.deliver

    def faulty(stream: TokenStream, output: TokenOutput) -> None:
        if output.token_ids == [5]:
            raise ValueError("no such label")
        deliver(stream, output)

    monkeypatch.setattr(TokenStream, "deliver", faulty)

    async def body() -> None:
        async with connected() as (connection, engine):
            client = EngineClient(connection, on_report=lambda report: None)
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            with (
                client.open(SUBMIT, deadline=deadline) as first,
                client.open(SUBMIT, deadline=deadline) as second,
            ):
                outputs = [TokenOutput(1, 0, [5]), TokenOutput(2, 0, [6])]
                engine.sendall(encode_frame(step_output(outputs)))
                assert (await anext(second)).token_ids == [6]
                with pytest.raises(RequestError) as failed:
                    await anext(first)
                assert failed.value.kind is ErrorKind.INTERNAL_ERROR
                assert client.num_streams == 1
            await client.close(gently=False)

    asyncio.run(asyncio.wait_for(body(), PATIENCE_SECONDS))
    assert "no such label" in caplog.text
