"""Every request gets exactly one outcome here: one log line and one count, whatever comes."""

import asyncio
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from service.api_keys import ApiKey
from service.errors import ErrorKind, RequestError
from service.logs import log_fields
from service.metrics import Metrics
from service.request_ids import Exchange
from service.tally_histogram import Tally
from service.transport_limits import TransportLimits

__all__ = ["OK", "RequestLog", "RequestRecord"]

_logger = logging.getLogger("service.requests")

OK = "ok"
NO_MODEL = "none"
OPERATION = "text_completion"
PROVIDER = "nextword"
_OUR_FAULTS = frozenset(kind.code for kind in ErrorKind if kind.http_status == 500)


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """What is noted of one request while it is served; times are `time.monotonic` seconds.

    Attributes:
        request_id: What client and log call it.
        protocol: "rest" or "grpc".
        route: Route template or method name.
        model: Name of the model that serves it, None before one is found.
        api_key: Which key it came with, None where none is asked for.
        started_at: When it entered the batch, or the engine was asked what no batch computes.
        gaps: Between the deliveries of each of its texts; shared by the parts of a call.
        num_counted_tokens: Those of its completion that the metrics have already.
    """

    request_id: str
    protocol: str
    route: str
    received_at: float = field(default_factory=time.monotonic)
    model: str | None = None
    model_version: str | None = None
    api_key: ApiKey | None = None
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    started_at: float | None = None
    first_token_at: float | None = None
    finished_at: float | None = None
    gaps: Tally | None = None
    num_counted_tokens: int = 0
    _last_token_at: dict[int, float] = field(default_factory=dict[int, float], init=False)

    def note_tokens(self, choice: int) -> None:
        """Tokens of one of its texts have come."""
        now = time.monotonic()
        if self.first_token_at is None:
            self.first_token_at = now
        before = self._last_token_at.get(choice)
        self._last_token_at[choice] = now
        if before is not None and self.gaps is not None:
            self.gaps.add(now - before)

    def since_received(self, moment: float | None) -> float | None:
        """Seconds from receipt to a moment; None where the moment never came."""
        return None if moment is None else moment - self.received_at


class RequestLog:
    """Opens and closes the records.

    Args:
        metrics: Where requests are counted.
        max_open: Requests of both protocols at once; more are refused.
    """

    def __init__(
        self, metrics: Metrics, *, max_open: int = TransportLimits().max_open_requests
    ) -> None:
        self._metrics = metrics
        self._max_open = max_open
        self.num_open = 0
        self._open: dict[int, RequestRecord] = {}
        metrics.count_before_scrapes(self._count_open)
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    @contextmanager
    def request(
        self,
        *,
        protocol: str,
        route: str,
        request_id: str | None = None,
        exchange: Exchange | None = None,
    ) -> Generator[RequestRecord, None, None]:
        """The span of one request; the exception that leaves it is its outcome.

        Raises:
            RequestError: Too many are open.
        """
        exchange = exchange or Exchange(request_id or "")
        record = RequestRecord(
            request_id=exchange.request_id,
            protocol=protocol,
            route=route,
            api_key=exchange.api_key,
            gaps=self._metrics.gaps.tally(),
        )
        self.num_open += 1
        self._open[id(record)] = record
        self._all_closed.clear()
        self._metrics.received.labels(protocol).inc()
        self._metrics.in_flight.labels(protocol).inc()
        outcome = ErrorKind.INTERNAL_ERROR.code
        try:
            if self.num_open > self._max_open:
                raise RequestError(
                    ErrorKind.SERVER_OVERLOADED,
                    f"{self._max_open} requests are open, which is the limit",
                    retry_after_seconds=1,
                )
            yield record
            outcome = OK
        except RequestError as error:
            outcome = error.kind.code
            if record.started_at is None and error.kind is not ErrorKind.CANCELLED:
                self._metrics.rejected.labels(protocol, outcome).inc()
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = ErrorKind.CANCELLED.code
            raise
        finally:
            exchange.outcome = outcome
            record.finished_at = time.monotonic()
            self._metrics.in_flight.labels(protocol).dec()
            self._count(record, outcome)
            self._tell(record, outcome, exchange.trace_id)
            self.num_open -= 1
            del self._open[id(record)]
            if self.num_open == 0:
                self._all_closed.set()

    def refuse(self, error: RequestError, *, protocol: str, route: str, exchange: Exchange) -> None:
        """Note a request that no handler was found for."""
        with (
            suppress(RequestError),
            self.request(protocol=protocol, route=route, exchange=exchange),
        ):
            raise error

    async def wait_all_closed(self) -> None:
        """Return when no request is open."""
        await self._all_closed.wait()

    def _count_open(self) -> None:
        # A long stream counts while it lasts, not all at once when it ends. Most of very many wait.
        for record in self._open.values():
            if record.num_completion_tokens > record.num_counted_tokens:
                self._count_tokens(record)

    def _count_tokens(self, record: RequestRecord) -> None:
        if record.model is None:
            return
        num_new = record.num_completion_tokens - record.num_counted_tokens
        record.num_counted_tokens = record.num_completion_tokens
        self._metrics.completion_tokens.labels(record.model).inc(num_new)

    def _count(self, record: RequestRecord, outcome: str) -> None:
        metrics = self._metrics
        metrics.requests.labels(
            record.protocol, record.route, record.model or NO_MODEL, outcome
        ).inc()
        if record.model is None:
            return
        metrics.prompt_tokens.labels(record.model).inc(record.num_prompt_tokens)
        self._count_tokens(record)
        queued = record.since_received(record.started_at)
        first = record.since_received(record.first_token_at)
        total = record.since_received(record.finished_at)
        # Only what succeeded enters the latency figures.
        if outcome != OK or queued is None or total is None:
            return
        labels = (OPERATION, PROVIDER, record.model)
        metrics.queue_seconds.labels(record.model).observe(queued)
        metrics.request_seconds.labels(*labels).observe(total)
        if first is not None:
            metrics.first_token_seconds.labels(*labels).observe(first)
        if first is not None and record.num_completion_tokens > 1:
            per_token = (total - first) / (record.num_completion_tokens - 1)
            metrics.token_seconds.labels(*labels).observe(per_token)
        if record.gaps is not None:
            metrics.gaps.add(record.model, record.gaps)

    def _tell(self, record: RequestRecord, outcome: str, trace_id: str | None) -> None:
        queued = record.since_received(record.started_at)
        total = record.since_received(record.finished_at)
        generating = None if queued is None or total is None else total - queued
        is_ours = outcome in _OUR_FAULTS
        log_fields(
            _logger,
            "request",
            level=logging.WARNING if is_ours else logging.INFO,
            request_id=record.request_id,
            trace_id=trace_id,
            protocol=record.protocol,
            route=record.route,
            outcome=outcome,
            api_key=None if record.api_key is None else record.api_key.name,
            model=record.model,
            version=record.model_version,
            prompt_tokens=record.num_prompt_tokens,
            completion_tokens=record.num_completion_tokens,
            queue_seconds=_rounded(queued),
            first_token_seconds=_rounded(record.since_received(record.first_token_at)),
            generate_seconds=_rounded(generating),
            total_seconds=_rounded(total),
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
