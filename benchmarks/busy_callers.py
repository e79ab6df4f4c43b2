"""Clients that ask a server again and again while something else is measured."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import httpx2

__all__ = ["asked_by"]

TIMEOUT_SECONDS = 60


@contextmanager
def asked_by(
    number: int, address: str, ask: Callable[[httpx2.Client, int], None]
) -> Generator[None]:
    """So many clients that ask again and again while the block runs.

    Args:
        number: Clients.
        address: Of the server's REST port.
        ask: Asks once; called with a client of that address and its number from 0.
    """
    has_ended = threading.Event()

    def go_on(own: int) -> None:
        with httpx2.Client(base_url=address, timeout=TIMEOUT_SECONDS) as client:
            while not has_ended.is_set():
                ask(client, own)

    threads = [threading.Thread(target=go_on, args=(own,)) for own in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        has_ended.set()
        for thread in threads:
            thread.join()
