"""Levels that were measured several times: the median of each figure, and how far they spread."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from nextword.bench.results import LevelResult

__all__ = [
    "Median",
    "RepeatedLevel",
    "level_groups",
    "median_of",
    "repeated_levels",
    "whole_levels",
]


@dataclass(frozen=True, slots=True)
class Median:
    """The middle of the repeats, and their ends; None where nothing was measured."""

    median: float | None
    lowest: float | None
    highest: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedLevel:
    """One server at one number of clients or rate, over its repeats.

    Each percentile is the median of the repeats' percentiles. Where each repeat was given up,
    they are those of the requests that had ended by then; otherwise a repeat that was given up
    counts in the goodput only.
    """

    url: str
    concurrency: int | None
    rate: float | None
    num_repeats: int
    is_given_up: bool
    requests_per_second: Median
    output_tokens_per_second: Median
    first_token_seconds_p50: Median
    first_token_seconds_p99: Median
    between_tokens_seconds_p50: Median
    between_tokens_seconds_p99: Median
    request_seconds_p50: Median
    request_seconds_p99: Median
    goodput_share: Median
    goodput_requests_per_second: Median


def repeated_levels(results: Sequence[LevelResult]) -> list[RepeatedLevel]:
    """The levels, those of a server with its load rising."""
    return [_repeated(whole_levels(group)) for group in level_groups(results)]


def level_groups(results: Sequence[LevelResult]) -> list[list[LevelResult]]:
    """The repeats of each level, those of a server with its load rising."""
    groups: dict[tuple[str, int | None, float | None], list[LevelResult]] = {}
    for result in results:
        groups.setdefault((result.url, result.concurrency, result.rate), []).append(result)
    urls = list(dict.fromkeys(result.url for result in results))
    return sorted(groups.values(), key=lambda group: _place(group[0], urls))


def _place(level: LevelResult, urls: Sequence[str]) -> tuple[int, bool, float]:
    load = level.concurrency or 0 if level.rate is None else level.rate
    return urls.index(level.url), level.rate is not None, load


def whole_levels(levels: Sequence[LevelResult]) -> list[LevelResult]:
    """Those that were not stopped from outside, nor given up while this client was late, which a
    sweep measures again; all, where there is no other."""
    whole = [
        level
        for level in levels
        if level.is_complete
        or (level.is_given_up and not level.is_client_busy and not level.is_client_late)
    ]
    return whole or list(levels)


def _repeated(group: list[LevelResult]) -> RepeatedLevel:
    goodputs = [level.goodput for level in group if level.goodput is not None]
    # What was given up has few requests, and the fast ones of them, to have times.
    group = [level for level in group if level.is_complete] or group
    return RepeatedLevel(
        url=group[0].url,
        concurrency=group[0].concurrency,
        rate=group[0].rate,
        num_repeats=len(group),
        is_given_up=all(level.is_given_up for level in group),
        requests_per_second=median_of([level.requests_per_second for level in group]),
        output_tokens_per_second=median_of([level.output_tokens_per_second for level in group]),
        first_token_seconds_p50=median_of([level.first_token_seconds.p50 for level in group]),
        first_token_seconds_p99=median_of([level.first_token_seconds.p99 for level in group]),
        between_tokens_seconds_p50=median_of([level.between_tokens_seconds.p50 for level in group]),
        between_tokens_seconds_p99=median_of([level.between_tokens_seconds.p99 for level in group]),
        request_seconds_p50=median_of([level.request_seconds.p50 for level in group]),
        request_seconds_p99=median_of([level.request_seconds.p99 for level in group]),
        goodput_share=median_of([goodput.share for goodput in goodputs]),
        goodput_requests_per_second=median_of([g.requests_per_second for g in goodputs]),
    )


def median_of(values: Sequence[float | None]) -> Median:
    """The median of what was measured."""
    found = [value for value in values if value is not None]
    if not found:
        return Median(None, None, None)
    return Median(statistics.median(found), min(found), max(found))
