"""What comes for a waiting reader goes past its task, while that need not wait for anything."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import cast

import pytest
from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.engine.messages import EngineFinish, TokenOutput
from service.errors import ErrorKind, RequestError
from service.outlet import Outlet
from service.rest_api.direct_writer import DirectWriter
from service.rest_api.event_stream import EventStream
from service.token_stream import TokenStream
from tests.service.driven_stream import Engine, run


class Window:
    """An outlet that a test opens and closes."""

    def __init__(self) -> None:
        self.is_open = True
        self.taken: list[TokenOutput] = []
        self.outlet = Outlet[TokenOutput](lambda: self.is_open, self._put)

    def _put(self, batch: TokenOutput) -> None:
        assert self.is_open
        self.taken.append(batch)


def test_what_comes_for_a_waiting_reader_goes_through_an_open_outlet_but_for_the_end() -> None:
    async def body() -> None:
        engine, window = Engine(), Window()
        read: list[list[int]] = []

        async def read_all() -> None:
            read.extend([batch.token_ids async for batch in engine.stream])

        with engine.stream as stream:
            stream.outlet = window.outlet
            # Nobody waits yet: what is here is the reader's.
            engine.give(1)
            reading = asyncio.create_task(read_all())
            await _let_others_run()
            engine.give(2)
            engine.give(3)
            window.is_open = False
            engine.give(4)
            window.is_open = True
            # The reader was woken, and comes first with all that is here.
            engine.give(5)
            await _let_others_run()
            engine.give(6)
            engine.give(7, finish=EngineFinish.LENGTH)
            await reading
        assert [batch.token_ids for batch in window.taken] == [[2], [3], [6]]
        assert read == [[1], [4, 5], [7]]

    run(body)


def test_an_error_wakes_the_reader_whatever_waits_for_the_outlet() -> None:
    async def body() -> None:
        window = Window()
        ready: list[TokenStream] = []
        engine = Engine(on_ready=ready.append)
        with engine.stream as stream:
            stream.outlet = window.outlet
            reading = asyncio.ensure_future(anext(stream))
            await _let_others_run()
            engine.give(1)
            stream.fail(RequestError(ErrorKind.ENGINE_UNAVAILABLE, "lost"))
            (once,) = ready
            once.hand_on()
            with pytest.raises(RequestError, match="lost"):
                await reading
        assert window.taken == []

    run(body)


async def _let_others_run() -> None:
    # A task that was created or woken needs one turn of the loop, and has a few.
    for _ in range(5):
        await asyncio.sleep(0)


class Transport:
    """What a connection was given to write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def test_an_event_goes_straight_to_its_connection_once_the_head_is_sent_and_the_client_reads() -> (
    None
):
    async def body() -> None:
        flow, transport, sent = SimpleNamespace(write_paused=False), Transport(), list[Message]()
        cycle = SimpleNamespace(
            flow=flow, transport=transport, disconnected=False, chunked_encoding=True
        )

        async def send(message: Message) -> None:
            sent.append(message)

        direct = DirectWriter(cast("RequestResponseCycle", cycle))
        stream = EventStream[int](send, lambda piece: {"n": piece}, headers={}, direct=direct)
        states: list[bool] = []

        async def pieces() -> AsyncGenerator[int]:
            states.append(stream.outlet.is_open())
            yield 1
            states.append(stream.outlet.is_open())
            stream.outlet.put(2)
            flow.write_paused = True
            states.append(stream.outlet.is_open())
            yield 3
            flow.write_paused, cycle.disconnected = False, True
            states.append(stream.outlet.is_open())

        await stream.send_all(pieces(), tuple)
        assert states == [False, True, False, False]
        assert transport.written == [b'f\r\ndata: {"n":2}\n\n\r\n']
        bodies = [message["body"] for message in sent if "body" in message]
        assert bodies == [b'data: {"n":1}\n\n', b'data: {"n":3}\n\n', b"data: [DONE]\n\n"]

    run(body)
