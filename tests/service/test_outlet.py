"""What comes for a waiting reader goes past its task, while that need not wait for anything."""

import asyncio

import pytest

from service.engine.messages import EngineFinish, TokenOutput
from service.errors import ErrorKind, RequestError
from service.outlet import Outlet
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
