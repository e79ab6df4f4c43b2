"""Requests into an engine process, from its other end."""

import asyncio
import socket
import subprocess
import sys

import pytest

from service.engine.messages import Loaded, Submit
from service.engine_client import EngineClient
from service.engine_launch import EngineConnection
from service.errors import ErrorKind, RequestError

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


def test_a_request_that_opens_after_all_were_ended_ends_the_same_way() -> None:
    """H106: accepted before the drain time was over, and submitted after it."""

    async def body() -> None:
        ours, theirs = socket.socketpair()
        process = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            connection = EngineConnection(process, reader, writer, LOADED)
            client = EngineClient(connection, on_report=lambda report: None)
            deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
            submit = Submit(request_id=0, prompt_ids=[1], max_tokens=1)
            with client.open(submit, deadline=deadline) as stream:
                client.fail_all(RequestError(ErrorKind.DRAINING, "leaving"))
                with pytest.raises(RequestError) as running:
                    await anext(stream)
            with pytest.raises(RequestError) as late:
                client.open(submit, deadline=deadline)
            assert running.value.kind is late.value.kind is ErrorKind.DRAINING
            assert client.num_streams == 0
            await client.close(gently=False)

    asyncio.run(asyncio.wait_for(body(), PATIENCE_SECONDS))
