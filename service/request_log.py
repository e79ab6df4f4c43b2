"""Every request gets exactly one outcome here: one log line and one count, whatever comes."""

import asyncio
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.errors import ErrorKind, RequestError
from service.logs import log_fields
from service.metrics import Metrics

__all__ = ["RequestLog", "RequestRecord"]

_logger = logging.getLogger("service.requests")

OK = "ok"
NO_MODEL = "none"


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """What is noted of one request while it is served; times are `time.monotonic` seconds.

    Attributes:
        request_id: What client and log call it.
        protocol: "rest" or "grpc".
        route: Route template or method name.
        model: Name of the model that serves it, None before one is found.
        started_at: When it entered the batch.
    """

    request_id: str
    protocol: str
    route: str
    received_at: float = field(default_factory=time.monotonic)
    model: str | None = None
    model_version: str | None = None
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    started_at: float | None = None
    first_token_at: float | None = None
    finished_at: float | None = None

    def since_received(self, moment: float | None) -> float | None:
        """Seconds from receipt to a moment; None where the moment never came."""
        return None if moment is None else moment - self.received_at


class RequestLog:
    """Opens and closes the records."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.num_open = 0
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    @contextmanager
    def request(
        self, *, protocol: str, route: str, request_id: str
    ) -> Generator[RequestRecord, None, None]:
        """The span of one request; the exception that leaves it is its outcome."""
        record = RequestRecord(request_id=request_id, protocol=protocol, route=route)
        self.num_open += 1
        self._all_closed.clear()
        self._metrics.in_flight.labels(protocol).inc()
        outcome = ErrorKind.INTERNAL_ERROR.code
        try:
            yield record
            outcome = OK
        except RequestError as error:
            outcome = error.kind.code
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = ErrorKind.CANCELLED.code
            raise
        finally:
            record.finished_at = time.monotonic()
            self._metrics.in_flight.labels(protocol).dec()
            self._count(record, outcome)
            self.num_open -= 1
            if self.num_open == 0:
                self._all_closed.set()

    async def wait_all_closed(self) -> None:
        """Return when no request is open."""
        await self._all_closed.wait()

    def _count(self, record: RequestRecord, outcome: str) -> None:
        metrics = self._metrics
        total = record.since_received(record.finished_at)
        queued = record.since_received(record.started_at)
        first = record.since_received(record.first_token_at)
        assert total is not None
        metrics.requests.labels(
            record.protocol, record.route, record.model or NO_MODEL, outcome
        ).inc()
        if record.model is not None:
            metrics.prompt_tokens.labels(record.model).inc(record.num_prompt_tokens)
            metrics.completion_tokens.labels(record.model).inc(record.num_completion_tokens)
            # Only what succeeded enters the latency figures.
            if outcome == OK and queued is not None:
                metrics.queue_seconds.labels(record.model).observe(queued)
                metrics.request_seconds.labels(record.model).observe(total)
                if first is not None:
                    metrics.first_token_seconds.labels(record.model).observe(first)
                if first is not None and record.num_completion_tokens > 1:
                    gap = (total - first) / (record.num_completion_tokens - 1)
                    metrics.inter_token_seconds.labels(record.model).observe(gap)
        log_fields(
            _logger,
            "request",
            request_id=record.request_id,
            protocol=record.protocol,
            route=record.route,
            outcome=outcome,
            model=record.model,
            version=record.model_version,
            prompt_tokens=record.num_prompt_tokens,
            completion_tokens=record.num_completion_tokens,
            queue_seconds=_rounded(queued),
            first_token_seconds=_rounded(first),
            total_seconds=_rounded(total),
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
