"""SIGTERM and SIGINT: the first asks for a drain, the second for an end."""

import asyncio
import signal

__all__ = ["StopSignals"]


class StopSignals:
    """The signals that end a server, as events of the running loop.

    Attributes:
        first: Set by the first one.
        second: Set by the second one.
        number: Of the second one.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.number = 0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._note, number)

    def _note(self, number: int) -> None:
        if self.first.is_set():
            self.number = number
            self.second.set()
        self.first.set()
