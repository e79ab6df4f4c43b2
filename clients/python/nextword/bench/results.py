"""From the records of a level to its figures."""

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

from nextword.bench.curves import Curves, curves
from nextword.bench.distribution import Distribution, distribution
from nextword.bench.measurement import Measurement
from nextword.bench.objective import Objective
from nextword.bench.records import CLIENT_LIMIT, RequestRecord

__all__ = ["BUSY_SHARE", "LATE_SECONDS", "ErrorCount", "Goodput", "LevelResult", "summarize"]

# Above this share of one core the client itself delays what it measures.
BUSY_SHARE = 0.8
# An open loop whose requests leave later than this after they were due, at the 99th percentile,
# measures its own client.
LATE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Failures of one kind."""

    code: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Goodput:
    """Requests that were of use.

    Attributes:
        num_met: Requests that kept the objective.
        share: The same as a share of the requests that were to be sent (closed loop: have ended).
        requests_per_second: Such requests a second.
        is_held: Whether the share is at least the objective's.
    """

    num_met: int
    share: float
    requests_per_second: float
    is_held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """The figures of one level.

    Attributes:
        url: The server.
        protocol: rest or grpc.
        concurrency: Number of clients of a closed loop; None for an open one.
        rate: Requests a second of an open loop; None for a closed one.
        repeat: Which of the level's repeats, from 1.
        is_complete: Whether it ran to its end.
        is_given_up: Whether it was ended since it could no longer keep the objective.
        num_warmup_requests: Requests before it that count nowhere below.
        num_warmup_failures: Those of them that failed.
        seconds: The window that rates are taken over: from the first request to the last end, or
            the seconds that were asked for.
        num_offered: Requests that were to be sent; in a closed loop those that ended.
        num_requests: Requests that ended.
        num_ok: Those that brought exactly the tokens asked for.
        errors: The others, by kind.
        requests_per_second: Good requests that ended in the window, by its length.
        output_tokens_per_second: Tokens of good requests that came in the window, by its length.
        num_output_tokens: Tokens of good requests, those after the window included.
        num_prompt_tokens: Prompt tokens of good requests, in the server's count.
        goodput: Requests that kept the objective; None without one.
        max_running: Most requests that were on their way at once.
        send_delay_seconds: How late requests of an open loop left this process.
        first_token_seconds: From sending a request, or when it was due in an open loop, to its
            first token; good requests only.
        between_tokens_seconds: Waits for a token after the first; tokens that came in one message
            share its wait. Where the server tells no ids: waits between events, each with the
            same share of the tokens in the server's count.
        mean_between_tokens_seconds: The mean of those waits, for each request.
        request_seconds: From sending a request, or when it was due, to its end.
        client_cpu_seconds: Processor time of this process in the level.
        client_cpu_share: The same as a share of one core.
        curves: What plots are drawn from.
    """

    url: str
    protocol: str
    concurrency: int | None
    rate: float | None
    repeat: int
    is_complete: bool
    is_given_up: bool
    num_warmup_requests: int
    num_warmup_failures: int
    seconds: float
    num_offered: int
    num_requests: int
    num_ok: int
    errors: tuple[ErrorCount, ...]
    requests_per_second: float
    output_tokens_per_second: float
    num_output_tokens: int
    num_prompt_tokens: int
    goodput: Goodput | None
    max_running: int
    send_delay_seconds: Distribution
    first_token_seconds: Distribution
    between_tokens_seconds: Distribution
    mean_between_tokens_seconds: Distribution
    request_seconds: Distribution
    client_cpu_seconds: float
    client_cpu_share: float
    curves: Curves

    @property
    def is_client_busy(self) -> bool:
        """Whether this process was too busy for the figures to be the server's."""
        return self.client_cpu_share > BUSY_SHARE

    @property
    def is_client_late(self) -> bool:
        """Whether requests left too late for the figures to be the server's."""
        return (self.send_delay_seconds.p99 or 0.0) > LATE_SECONDS

    @property
    def is_client_full(self) -> bool:
        """Whether requests were not sent since as many as this process can have were running."""
        return any(error.code == CLIENT_LIMIT for error in self.errors)


def summarize(measured: Measurement, objective: Objective | None = None) -> LevelResult:
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
    first_waits = [wait for r in good if (wait := r.first_token_seconds) is not None]
    gaps_of = [record.gaps_seconds for record in good]
    gaps = [gap for gaps in gaps_of for gap in gaps]
    whole = [_end(record) - record.started_at for record in good]
    delays = [r.sent_at - r.started_at for r in measured.records if r.sent_at is not None]
    level = measured.level
    return LevelResult(
        url=level.address.url,
        protocol=level.address.protocol,
        concurrency=level.concurrency,
        rate=level.rate,
        repeat=level.repeat,
        is_complete=measured.is_complete,
        is_given_up=measured.is_given_up,
        num_warmup_requests=len(measured.warmup_records),
        num_warmup_failures=sum(1 for r in measured.warmup_records if r.error_code is not None),
        seconds=seconds,
        num_offered=measured.num_offered or len(ended),
        num_requests=len(ended),
        num_ok=len(good),
        errors=_errors(ended),
        requests_per_second=num_in_window / seconds,
        output_tokens_per_second=tokens_in_window / seconds,
        num_output_tokens=sum(record.num_used_tokens or 0 for record in good),
        num_prompt_tokens=sum(record.num_prompt_tokens or 0 for record in good),
        goodput=None if objective is None else _goodput(measured, objective, ends_at),
        max_running=_max_running(measured),
        send_delay_seconds=distribution(delays if level.rate is not None else []),
        first_token_seconds=distribution(first_waits),
        between_tokens_seconds=distribution(gaps),
        mean_between_tokens_seconds=distribution([sum(g) / len(g) for g in gaps_of if g]),
        request_seconds=distribution(whole),
        client_cpu_seconds=measured.cpu_seconds,
        client_cpu_share=measured.cpu_seconds / elapsed,
        curves=curves(
            measured,
            first_token_seconds=first_waits,
            between_tokens_seconds=gaps,
            request_seconds=whole,
        ),
    )


def _goodput(measured: Measurement, objective: Objective, ends_at: float) -> Goodput:
    """Closed loop: of what ended in the window; open loop: of what was to be sent, whenever it
    ended, since its rate is given."""
    ended = [record for record in measured.records if record.ended_at is not None]
    met = [record for record in ended if objective.is_met(record)]
    rate = measured.level.rate
    num_all = len(ended) if rate is None else measured.num_offered
    share = len(met) / num_all if num_all else 0.0
    if rate is None:
        seconds = max(ends_at - measured.started_at, 1e-9)
        per_second = sum(1 for record in met if _end(record) <= ends_at) / seconds
    else:
        per_second = share * rate
    is_whole = measured.is_complete and num_all > 0
    return Goodput(len(met), share, per_second, is_whole and share >= objective.share)


def _max_running(measured: Measurement) -> int:
    changes = [(record.started_at, 1) for record in measured.records]
    changes += [(r.ended_at, -1) for r in measured.records if r.ended_at is not None]
    # At the same moment an end comes first: a client's next request is not beside its last one.
    return max(accumulate(change for _, change in sorted(changes)), default=0)


def _end(record: RequestRecord) -> float:
    assert record.ended_at is not None
    return record.ended_at


def _tokens_until(record: RequestRecord, ends_at: float) -> float:
    """Tokens that came until then.

    Where only events are seen, the server's count is spread evenly over them.
    """
    seen = sum(count for at, count in record.arrivals if at <= ends_at)
    return seen * record.tokens_per_event


def _errors(ended: list[RequestRecord]) -> tuple[ErrorCount, ...]:
    failed = [record for record in ended if record.error_code is not None]
    counts = Counter(record.error_code or "" for record in failed)
    examples = {record.error_code or "": record.error for record in reversed(failed)}
    return tuple(ErrorCount(code, count, examples[code]) for code, count in counts.most_common())
