"""What plots of a level are drawn from: quantiles of its times, and its course over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from nextword.bench.distribution import percentile
from nextword.bench.measurement import Measurement

__all__ = ["QUANTILES", "Curves", "Timeline", "curves"]

QUANTILES = (*(number / 100 for number in range(100)), 0.995, 0.999, 1.0)
MAX_STEPS = 100
MIN_STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Timeline:
    """A level's course, in steps of equal length from its start to the last end.

    Attributes:
        step_seconds: Length of a step.
        tokens_per_second: Tokens of good requests that came in the step.
        running: Requests that were on their way in the step.
        first_token_seconds: Mean of the requests that were due in the step; None without one.
    """

    step_seconds: float
    tokens_per_second: tuple[float, ...]
    running: tuple[int, ...]
    first_token_seconds: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Seconds at each of the quantiles (empty where nothing was measured), and the course."""

    first_token_seconds: tuple[float, ...]
    between_tokens_seconds: tuple[float, ...]
    request_seconds: tuple[float, ...]
    timeline: Timeline


def curves(
    measured: Measurement,
    *,
    first_token_seconds: Sequence[float],
    between_tokens_seconds: Sequence[float],
    request_seconds: Sequence[float],
) -> Curves:
    """The curves of a level that has ended, out of the times of its good requests."""
    return Curves(
        first_token_seconds=_quantiles(first_token_seconds),
        between_tokens_seconds=_quantiles(between_tokens_seconds),
        request_seconds=_quantiles(request_seconds),
        timeline=_timeline(measured),
    )


def _quantiles(seconds: Sequence[float]) -> tuple[float, ...]:
    ranked = sorted(seconds)
    return tuple(percentile(ranked, share) for share in QUANTILES) if ranked else ()


def _timeline(measured: Measurement) -> Timeline:
    assert measured.ended_at is not None
    start = measured.started_at
    length = max(measured.ended_at - start, MIN_STEP_SECONDS)
    step = max(length / MAX_STEPS, MIN_STEP_SECONDS)
    num_steps = int(length / step) + 1

    def step_of(at: float) -> int:
        return min(max(int((at - start) / step), 0), num_steps - 1)

    tokens, changes = [0.0] * num_steps, [0] * (num_steps + 1)
    waits: list[list[float]] = [[] for _ in range(num_steps)]
    for record in measured.records:
        changes[step_of(record.started_at)] += 1
        # Those that were cancelled have run to the level's end.
        changes[step_of(record.ended_at or measured.ended_at) + 1] -= 1
        if not record.is_ok:
            continue
        for at, count in record.arrivals:
            tokens[step_of(at)] += count * record.tokens_per_event
        if record.first_token_seconds is not None:
            waits[step_of(record.started_at)].append(record.first_token_seconds)
    return Timeline(
        step_seconds=step,
        tokens_per_second=tuple(count / step for count in tokens),
        running=tuple(accumulate(changes[:-1])),
        first_token_seconds=tuple(sum(wait) / len(wait) if wait else None for wait in waits),
    )
