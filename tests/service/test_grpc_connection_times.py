"""When a silent client is taken for gone."""

import asyncio
import socket
import time
from collections.abc import Callable

import pytest
import uvloop

from service.grpc_transport.connection_limits import ConnectionLimits
from service.grpc_transport.connection_times import ConnectionTimes
from tests.service.http_connections import PATIENCE_SECONDS

LIMITS = ConnectionLimits(greeting_seconds=600, ping_seconds=0.01, ping_answer_seconds=0.01)


@pytest.mark.parametrize("answers", [True, False])
def test_a_client_that_answers_pings_at_once_stays_and_one_that_does_not_is_cut(
    answers: bool,
) -> None:
    """Within the same tick of the loop's clock, as on a fast network."""

    async def scenario() -> int:
        ended = asyncio.get_running_loop().create_future()
        num_pings = 0

        def end() -> None:
            if not ended.done():
                ended.set_result(None)

        def ping() -> None:
            nonlocal num_pings
            num_pings += 1
            if answers:
                times.note_heard()
            if num_pings == 20:
                end()

        def nothing() -> None:
            pass

        abort: Callable[[], None] = end
        times = ConnectionTimes(LIMITS, ping=ping, go_away=nothing, leave=nothing, abort=abort)
        times.start()
        await asyncio.wait_for(ended, PATIENCE_SECONDS)
        times.stop()
        return num_pings

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) == (20 if answers else 1)


def test_what_came_while_the_loop_was_held_is_read_before_a_client_is_cut() -> None:
    """A greeting that lies in the kernel was not late; nobody looked."""

    async def scenario() -> str:
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(word: str) -> None:
            if not ended.done():
                ended.set_result(word)

        def nothing() -> None:
            pass

        limits = ConnectionLimits(greeting_seconds=0.01)
        times = ConnectionTimes(
            limits, ping=nothing, go_away=nothing, leave=nothing, abort=lambda: end("cut")
        )

        def hear() -> None:
            times.note_greeted(is_busy=True)
            end("greeted")

        loop = asyncio.get_running_loop()
        first, ours, theirs = socket.socketpair(), *socket.socketpair()

        def hold() -> None:
            loop.remove_reader(first[0])
            theirs.send(b"hello")
            time.sleep(0.1)

        with first[0], first[1], ours, theirs:
            loop.add_reader(first[0], hold)
            loop.add_reader(ours, hear)
            times.start()
            first[1].send(b"now")
            word = await asyncio.wait_for(ended, PATIENCE_SECONDS)
            loop.remove_reader(ours)
        times.stop()
        return word

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) == "greeted"
