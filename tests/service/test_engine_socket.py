"""Frames of an engine as they come off a socket: in pieces, several at once, or none at all."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from service.engine.frames import FromEngine, encode_frame
from service.engine.messages import Heartbeat, Phase, StepCounters
from service.engine_link.engine_socket import EngineSocket, UnexpectedMessageError

PATIENCE_SECONDS = 10.0


def beat(step: int) -> Heartbeat:
    return Heartbeat(
        step=step,
        phase=Phase.IDLE,
        num_running=0,
        num_waiting=0,
        num_free_blocks=0,
        num_blocks=0,
        counters=StepCounters(),
    )


def run(body: Callable[[EngineSocket, socket.socket], Awaitable[None]]) -> None:
    async def bounded() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            opened = await EngineSocket.open(ours)
            try:
                await asyncio.wait_for(body(opened, theirs), PATIENCE_SECONDS)
            finally:
                opened.close()

    uvloop.run(bounded())


def test_messages_come_whole_and_in_order_however_they_are_cut() -> None:
    async def body(ours: EngineSocket, theirs: socket.socket) -> None:
        heard: list[FromEngine] = [beat(0)]
        all_heard = asyncio.Event()

        def hear(message: FromEngine) -> None:
            heard.append(message)
            if len(heard) == 6:
                all_heard.set()

        frames = b"".join(encode_frame(beat(step)) for step in range(6))
        cut = len(encode_frame(beat(0))) + 2
        theirs.sendall(frames[:cut])
        assert await ours.first() == beat(0)
        ours.listen(hear, lambda: None, on_read=lambda: None)
        for start in range(cut, len(frames), 7):
            theirs.sendall(frames[start : start + 7])
            await asyncio.sleep(0)
        await all_heard.wait()
        assert heard == [beat(step) for step in range(6)]

    run(body)


def test_messages_that_come_together_end_with_one_call() -> None:
    async def body(ours: EngineSocket, theirs: socket.socket) -> None:
        heard: list[FromEngine | None] = []
        are_read = {4: asyncio.Event(), 6: asyncio.Event()}

        def note_read() -> None:
            heard.append(None)
            if len(heard) in are_read:
                are_read[len(heard)].set()

        theirs.sendall(encode_frame(beat(0)))
        assert await ours.first() == beat(0)
        ours.listen(heard.append, lambda: None, on_read=note_read)
        last = encode_frame(beat(3))
        theirs.sendall(encode_frame(beat(1)) + encode_frame(beat(2)) + last[:5])
        await are_read[4].wait()
        theirs.sendall(last[5:])
        await are_read[6].wait()
        assert heard == [None, beat(1), beat(2), None, beat(3), None]

    run(body)


@pytest.mark.parametrize("last_words", [b"", b"\xff\xff\xff\xff", b"\0\0\0\x01\xc1"])
def test_the_end_and_what_is_no_message_end_the_socket(last_words: bytes) -> None:
    async def body(ours: EngineSocket, theirs: socket.socket) -> None:
        lost = asyncio.Event()
        ours.listen(lambda message: None, lost.set, on_read=lambda: None)
        theirs.sendall(last_words)
        if not last_words:
            theirs.shutdown(socket.SHUT_WR)
        await lost.wait()
        with pytest.raises(EOFError):
            await ours.first()

    run(body)


def test_a_message_that_cannot_be_handed_on_is_logged_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """H45: a fault in one place of the front is no fault of the engine."""

    async def body(ours: EngineSocket, theirs: socket.socket) -> None:
        heard: list[FromEngine] = []
        has_last, lost = asyncio.Event(), asyncio.Event()

        def hear(message: FromEngine) -> None:
            heard.append(message)
            if len(heard) == 1:
                raise ValueError("no such label")
            has_last.set()

        ours.listen(hear, lost.set, on_read=lambda: None)
        theirs.sendall(encode_frame(beat(0)) + encode_frame(beat(1)))
        await has_last.wait()
        assert heard == [beat(0), beat(1)]
        assert not lost.is_set()

    run(body)
    assert "no such label" in caplog.text


def test_a_message_that_its_listener_does_not_expect_ends_the_socket() -> None:
    async def body(ours: EngineSocket, theirs: socket.socket) -> None:
        lost = asyncio.Event()

        def hear(message: FromEngine) -> None:
            raise UnexpectedMessageError("not now")

        ours.listen(hear, lost.set, on_read=lambda: None)
        theirs.sendall(encode_frame(beat(0)))
        await lost.wait()

    run(body)
