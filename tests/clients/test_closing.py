"""Closing a client while its calls run: they end with an error, over both protocols."""

import asyncio

import pytest
from nextword import AsyncClient, ConnectionFailedError, SamplingParameters

from tests.clients.waiting import PATIENCE_SECONDS

LONG = SamplingParameters(max_tokens=3000, ignore_eos=True, temperature=1.0)


async def close_under_a_stream(url: str) -> None:
    client = AsyncClient(url)
    has_begun = asyncio.Event()

    async def read() -> None:
        async for _ in client.stream("x", parameters=LONG):
            has_begun.set()

    async with asyncio.timeout(PATIENCE_SECONDS):
        reading = asyncio.create_task(read())
        await has_begun.wait()
        await client.close()
        with pytest.raises(ConnectionFailedError):
            await reading


async def cancel_a_stream(url: str) -> None:
    has_begun = asyncio.Event()

    async def read(client: AsyncClient) -> None:
        async for _ in client.stream("x", parameters=LONG):
            has_begun.set()

    async with asyncio.timeout(PATIENCE_SECONDS), AsyncClient(url) as client:
        reading = asyncio.create_task(read(client))
        await has_begun.wait()
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()


def test_a_stream_under_which_its_client_is_closed_ends_with_an_error(url: str) -> None:
    """Not as if its task had been cancelled, which no program would hear of."""
    asyncio.run(close_under_a_stream(url))


def test_a_task_that_is_cancelled_is_cancelled(url: str) -> None:
    asyncio.run(cancel_a_stream(url))
