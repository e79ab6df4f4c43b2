"""When the message of a call is late."""

import asyncio
import socket
import time

import pytest
import uvloop

from service.grpc_transport.call import Call
from service.grpc_transport.call_head import CallHead, Headers
from service.grpc_transport.message_frames import frame_message


class _NoConnection:
    def acknowledge(self, stream: int, num_bytes: int) -> None:
        pass

    def send_head(self, stream: int, headers: Headers) -> None:
        raise AssertionError

    def put(self, stream: int, data: bytes | memoryview) -> int:
        raise AssertionError


def _call() -> Call:
    head = CallHead(method="/a/b", metadata=(), timeout_seconds=None, encoding="identity")
    return Call(head, _NoConnection(), 1, max_message_bytes=100)


@pytest.mark.parametrize("has_come", [True, False])
def test_a_message_that_came_while_the_loop_was_held_is_not_late(has_come: bool) -> None:
    async def scenario() -> bytes | None:
        call = _call()
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()

        def receive() -> None:
            data = ours.recv(100)
            call.take(data, len(data))

        def hold() -> None:
            # It lies in the kernel when the time is over.
            if has_come:
                theirs.send(frame_message(b"hello"))
            time.sleep(0.1)

        with ours, theirs:
            loop.add_reader(ours, receive)
            try:
                reading = loop.create_task(call.read_within(0.01))
                loop.call_soon(hold)
                return await reading
            finally:
                loop.remove_reader(ours)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if has_come:
            assert runner.run(scenario()) == b"hello"
        else:
            with pytest.raises(TimeoutError):
                runner.run(scenario())
