"""Leaving in order: unready first, refuse what is new, let what runs end, tell what is left."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from service.health import Health, Stage
from service.logs import log_fields
from service.request_log import RequestLog
from service.settings import Settings
from service.stop_signals import StopSignals
from service.text_generator import TextGenerator

__all__ = ["drain"]

_logger = logging.getLogger(__name__)

# What a request that was told to end gets to write its last words.
FAREWELL_SECONDS = 2.0


async def drain(
    settings: Settings,
    generator: TextGenerator,
    health: Health,
    log: RequestLog,
    wait_delivered: Callable[[], Awaitable[None]],
    signals: StopSignals,
) -> None:
    """Return when every answer has been sent and balancers have had time to notice.

    A second signal cuts it short; what still runs then, or when the time is over, is told so.
    """
    seconds = settings.drain_timeout
    log_fields(_logger, "draining", open_requests=log.num_open, drain_timeout=seconds)
    health.enter(Stage.DRAINING)
    generator.refuse_new()
    ended = asyncio.create_task(_wait_ended(log, wait_delivered, settings.lame_duck))
    hurried = asyncio.create_task(signals.second.wait())
    try:
        # The ports stay open for the lame-duck time even if the drain time is shorter.
        timeout = max(seconds, settings.lame_duck)
        await asyncio.wait((ended, hurried), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            log_fields(_logger, "drain time over", open_requests=log.num_open)
            generator.end_all()
            await asyncio.wait((ended,), timeout=FAREWELL_SECONDS)
    finally:
        ended.cancel()
        hurried.cancel()


async def _wait_ended(
    log: RequestLog, wait_delivered: Callable[[], Awaitable[None]], lame_duck_seconds: float
) -> None:
    await asyncio.sleep(lame_duck_seconds)
    await log.wait_all_closed()
    # A request ends when its answer is written, which may be long before a client has read it.
    await wait_delivered()
