"""Who uses a version: it may be ended when nobody does."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["VersionHolders"]


class VersionHolders:
    """Counts the requests that hold a version."""

    def __init__(self) -> None:
        self._num_holders = 0
        self._released = asyncio.Event()
        self._released.set()

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Hold the version for as long as the block runs."""
        self._num_holders += 1
        self._released.clear()
        try:
            yield
        finally:
            self._num_holders -= 1
            if self._num_holders == 0:
                self._released.set()

    async def wait_released(self) -> None:
        """Return when nobody holds it."""
        while self._num_holders:
            await self._released.wait()
