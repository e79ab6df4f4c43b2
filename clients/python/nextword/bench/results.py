"""From the records of a level to its figures."""

from collections import Counter
from dataclasses import dataclass

from nextword.bench.distribution import Distribution, distribution
from nextword.bench.measurement import Measurement
from nextword.bench.records import RequestRecord

__all__ = ["BUSY_SHARE", "ErrorCount", "LevelResult", "summarize"]

# Above this share of one core the client itself delays what it measures.
BUSY_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Failures of one kind."""

    code: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """The figures of one level.

    Attributes:
        url: The server.
        protocol: rest or grpc.
        concurrency: Number of clients.
        is_complete: Whether it ran to its end.
        num_warmup_requests: Requests before it that count nowhere below.
        num_warmup_failures: Those of them that failed.
        seconds: The window that rates are taken over: from the first request to the last end, or
            the seconds that were asked for.
        num_requests: Requests that ended.
        num_ok: Those that brought exactly the tokens asked for.
        errors: The others, by kind.
        requests_per_second: Good requests that ended in the window, by its length.
        output_tokens_per_second: Tokens of good requests that came in the window, by its length.
        num_output_tokens: Tokens of good requests, those after the window included.
        num_prompt_tokens: Prompt tokens of good requests, in the server's count.
        first_token_seconds: From sending a request to its first token; good requests only.
        between_tokens_seconds: Waits for a token after the first; tokens that came in one message
            share its wait. Where the server tells no ids: waits between events with text.
        request_seconds: From sending a request to its end.
        client_cpu_seconds: Processor time of this process in the level.
        client_cpu_share: The same as a share of one core.
    """

    url: str
    protocol: str
    concurrency: int
    is_complete: bool
    num_warmup_requests: int
    num_warmup_failures: int
    seconds: float
    num_requests: int
    num_ok: int
    errors: tuple[ErrorCount, ...]
    requests_per_second: float
    output_tokens_per_second: float
    num_output_tokens: int
    num_prompt_tokens: int
    first_token_seconds: Distribution
    between_tokens_seconds: Distribution
    request_seconds: Distribution
    client_cpu_seconds: float
    client_cpu_share: float

    @property
    def is_client_busy(self) -> bool:
        """Whether this process was too busy for the figures to be the server's."""
        return self.client_cpu_share > BUSY_SHARE


def summarize(measured: Measurement) -> LevelResult:
    """The figures of a level that has ended."""
    assert measured.ended_at is not None
    ended = [record for record in measured.records if record.ended_at is not None]
    good = [record for record in ended if record.is_ok]
    ends_at = measured.ended_at
    if measured.window_ends_at is not None:
        ends_at = min(ends_at, measured.window_ends_at)
    seconds = max(ends_at - measured.started_at, 1e-9)
    elapsed = max(measured.ended_at - measured.started_at, 1e-9)
    num_in_window = sum(1 for record in good if _end(record) <= ends_at)
    tokens_in_window = sum(_tokens_until(record, ends_at) for record in good)
    return LevelResult(
        url=measured.level.address.url,
        protocol=measured.level.address.protocol,
        concurrency=measured.level.concurrency,
        is_complete=measured.is_complete,
        num_warmup_requests=len(measured.warmup_records),
        num_warmup_failures=sum(1 for r in measured.warmup_records if r.error_code is not None),
        seconds=seconds,
        num_requests=len(ended),
        num_ok=len(good),
        errors=_errors(ended),
        requests_per_second=num_in_window / seconds,
        output_tokens_per_second=tokens_in_window / seconds,
        num_output_tokens=sum(record.num_used_tokens or 0 for record in good),
        num_prompt_tokens=sum(record.num_prompt_tokens or 0 for record in good),
        first_token_seconds=distribution(
            [record.first_token_seconds for record in good if record.first_token_seconds]
        ),
        between_tokens_seconds=distribution(
            [gap for record in good for gap in record.gaps_seconds]
        ),
        request_seconds=distribution([_end(record) - record.started_at for record in good]),
        client_cpu_seconds=measured.cpu_seconds,
        client_cpu_share=measured.cpu_seconds / elapsed,
    )


def _end(record: RequestRecord) -> float:
    assert record.ended_at is not None
    return record.ended_at


def _tokens_until(record: RequestRecord, ends_at: float) -> float:
    """Tokens that came until then.

    Where only events are seen, the server's count is spread evenly over them.
    """
    seen = sum(count for at, count in record.arrivals if at <= ends_at)
    if record.num_tokens is not None:
        return seen
    num_events = sum(count for _, count in record.arrivals)
    return seen * (record.num_used_tokens or 0) / num_events


def _errors(ended: list[RequestRecord]) -> tuple[ErrorCount, ...]:
    failed = [record for record in ended if record.error_code is not None]
    counts = Counter(record.error_code or "" for record in failed)
    examples = {record.error_code or "": record.error for record in reversed(failed)}
    return tuple(ErrorCount(code, count, examples[code]) for code, count in counts.most_common())
