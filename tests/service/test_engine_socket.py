"""Frames of an engine as they come off a socket: in pieces, several at once, or none at all."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from service.engine.frames import FromEngine, encode_frame
from service.engine.messages import Heartbeat, Phase, StepCounters
from service.engine_link.engine_socket import EngineSocket

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

        def hear(messages: list[FromEngine]) -> None:
            heard.extend(messages)
            if len(heard) == 6:
                all_heard.set()

        frames = b"".join(encode_frame(beat(step)) for step in range(6))
        cut = len(encode_frame(beat(0))) + 2
        theirs.sendall(frames[:cut])
        assert await ours.first() == beat(0)
        ours.listen(hear, lambda: None)
        for start in range(cut, len(frames), 7):
            theirs.sendall(frames[start : start + 7])
            await asyncio.sleep(0)
        await all_heard.wait()
        assert heard == [beat(step) for step in range(6)]

    run(body)


def test_messages_that_come_together_are_handed_on_together() -> None:
    async def body(ours: EngineSocket, theirs: socket.socket) -> None:
        heard: list[list[FromEngine]] = []
        has_heard = asyncio.Event()

        def hear(messages: list[FromEngine]) -> None:
            heard.append(messages)
            has_heard.set()

        theirs.sendall(encode_frame(beat(0)))
        assert await ours.first() == beat(0)
        ours.listen(hear, lambda: None)
        last = encode_frame(beat(3))
        theirs.sendall(encode_frame(beat(1)) + encode_frame(beat(2)) + last[:5])
        await has_heard.wait()
        has_heard.clear()
        theirs.sendall(last[5:])
        await has_heard.wait()
        assert heard == [[beat(1), beat(2)], [beat(3)]]

    run(body)


@pytest.mark.parametrize("last_words", [b"", b"\xff\xff\xff\xff", b"\0\0\0\x01\xc1"])
def test_the_end_and_what_is_no_message_end_the_socket(last_words: bytes) -> None:
    async def body(ours: EngineSocket, theirs: socket.socket) -> None:
        lost = asyncio.Event()
        ours.listen(lambda messages: None, lost.set)
        theirs.sendall(last_words)
        if not last_words:
            theirs.shutdown(socket.SHUT_WR)
        await lost.wait()
        with pytest.raises(EOFError):
            await ours.first()

    run(body)


def test_what_came_before_what_is_no_message_is_handed_on() -> None:
    async def body(ours: EngineSocket, theirs: socket.socket) -> None:
        heard: list[FromEngine] = []
        lost = asyncio.Event()
        ours.listen(heard.extend, lost.set)
        theirs.sendall(encode_frame(beat(1)) + b"\0\0\0\x01\xc1" + encode_frame(beat(2)))
        await lost.wait()
        assert heard == [beat(1)]

    run(body)
