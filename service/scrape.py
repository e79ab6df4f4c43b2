"""The figures as text for whoever scrapes, made beside the event loop and once for all who wait."""

import asyncio
from collections.abc import Callable
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from service.metrics import Metrics

__all__ = ["Scraper"]

_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Scraper:
    """Renders one server's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._rendering: dict[str, asyncio.Task[bytes]] = {}

    async def scrape(self, accept: str) -> tuple[str, bytes]:
        """Content type and body for a scraper's Accept header.

        Text format 0.0.4 unless OpenMetrics is named. Many scrapes at once cost as much as one.
        """
        content_type = CONTENT_TYPE_PLAIN_0_0_4
        if "application/openmetrics-text" in accept:
            content_type = _OPEN_METRICS
        task = self._rendering.get(content_type)
        if task is None:
            self._metrics.refresh()
            render = _open_metrics if content_type == _OPEN_METRICS else generate_latest
            task = asyncio.create_task(self._render(content_type, render))
            self._rendering[content_type] = task
        # One scraper that leaves must not take the others' answer with it.
        return content_type, await asyncio.shield(task)

    async def _render(self, content_type: str, render: Callable[..., bytes]) -> bytes:
        try:
            return await asyncio.to_thread(render, self._metrics.registry)
        finally:
            del self._rendering[content_type]


def _open_metrics(registry: CollectorRegistry) -> bytes:
    # The library leaves its types out.
    return cast("bytes", openmetrics.generate_latest(registry, version="1.0.0"))
