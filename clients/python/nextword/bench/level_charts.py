"""Which charts a load test has: by rate, by number of clients, of each level's times and course."""

import math
from collections.abc import Callable, Sequence

from nextword.bench.curves import QUANTILES, Curves
from nextword.bench.objective import Objective
from nextword.bench.plan import clients
from nextword.bench.repeats import Median, RepeatedLevel, level_groups, repeated_levels
from nextword.bench.results import LevelResult
from nextword.bench.svg_charts import Chart, Series

__all__ = ["course_charts", "growth_charts", "level_name", "time_charts"]

MAX_LINES = 12
# Where the largest value stands, behind the last quantile with a number.
_LARGEST = 3.3


def level_name(level: LevelResult, results: Sequence[LevelResult]) -> str:
    """A level in words, with its server where there are several."""
    load = clients(level.concurrency) if level.rate is None else f"{level.rate:.4g} requests/s"
    return load if len({result.url for result in results}) == 1 else f"{level.url}, {load}"


def growth_charts(results: Sequence[LevelResult], objective: Objective | None) -> list[Chart]:
    """How figures grow with the rate of an open loop, and with the clients of a closed one."""
    levels = repeated_levels(results)
    tried = [level for level in levels if level.rate is not None]
    # What was ended early has too few requests, and the fast ones of them, to have times.
    rates = [level for level in tried if not level.is_given_up]
    closed = [level for level in levels if level.rate is None]
    charts: list[Chart] = []
    if len({level.rate for level in tried}) > 1 and objective is not None:
        charts.append(_share_chart(tried, objective))
    if len({level.rate for level in rates}) > 1:
        charts += _growth(rates, "requests/s", objective)
    if len({level.concurrency for level in closed}) > 1:
        charts += _growth(closed, "clients", objective)
    return charts


def time_charts(results: Sequence[LevelResult]) -> list[Chart]:
    """How the times of each level are spread, up to the rare ones."""
    picks: tuple[tuple[str, Callable[[Curves], Sequence[float]]], ...] = (
        ("Time to the first token", lambda curves: curves.first_token_seconds),
        ("Wait between tokens", lambda curves: curves.between_tokens_seconds),
        ("Whole request", lambda curves: curves.request_seconds),
    )
    shown = _middle_repeats(results)
    return [
        Chart(
            title=_title(title, results, shown),
            x_name="percentile",
            y_name="ms",
            is_y_log=True,
            series=[
                Series(
                    level_name(level, results),
                    [
                        (_nines(share), 1000 * seconds)
                        for share, seconds in zip(QUANTILES, pick(level.curves), strict=False)
                    ],
                )
                for level in shown
            ],
            x_ticks=[0.0, _nines(0.5), 1.0, 2.0, 3.0, _LARGEST],
            show_x=_percentile_name,
        )
        for title, pick in picks
    ]


def course_charts(results: Sequence[LevelResult]) -> list[Chart]:
    """How each level went on over time."""
    picks: tuple[tuple[str, str, Callable[[LevelResult], Sequence[float]]], ...] = (
        ("Tokens over time", "tokens/s", lambda level: level.curves.timeline.tokens_per_second),
        ("Requests on their way", "requests", lambda level: level.curves.timeline.running),
    )
    shown = _middle_repeats(results)
    return [
        Chart(
            title=_title(title, results, shown),
            x_name="seconds",
            y_name=unit,
            series=[
                Series(
                    level_name(level, results),
                    [
                        ((number + 0.5) * level.curves.timeline.step_seconds, value)
                        for number, value in enumerate(pick(level))
                    ],
                )
                for level in shown
            ],
        )
        for title, unit, pick in picks
    ]


def _share_chart(levels: Sequence[RepeatedLevel], objective: Objective) -> Chart:
    return Chart(
        title="Requests within the objective",
        x_name="requests/s",
        y_name="%",
        is_x_log=True,
        series=_by_server(levels, [("", lambda level: level.goodput_share)], scale=100),
        bound=(100 * objective.share, objective.label),
    )


def _growth(levels: Sequence[RepeatedLevel], load: str, objective: Objective | None) -> list[Chart]:
    first = None if objective is None else objective.first_token_seconds
    between = None if objective is None else objective.between_tokens_seconds
    return [
        Chart(
            title=f"Tokens a second, by {load}",
            x_name=load,
            y_name="tokens/s",
            is_x_log=True,
            series=_by_server(levels, [("", lambda level: level.output_tokens_per_second)]),
        ),
        Chart(
            title=f"Time to the first token, by {load}",
            x_name=load,
            y_name="ms",
            is_x_log=True,
            is_y_log=True,
            series=_by_server(
                levels,
                [
                    ("median", lambda level: level.first_token_seconds_p50),
                    ("99th percentile", lambda level: level.first_token_seconds_p99),
                ],
                scale=1000,
            ),
            bound=None if first is None else (1000 * first, "objective"),
        ),
        Chart(
            title=f"Wait between tokens, by {load}",
            x_name=load,
            y_name="ms",
            is_x_log=True,
            is_y_log=True,
            series=_by_server(
                levels,
                [
                    ("median", lambda level: level.between_tokens_seconds_p50),
                    ("99th percentile", lambda level: level.between_tokens_seconds_p99),
                ],
                scale=1000,
            ),
            bound=None if between is None else (1000 * between, "objective"),
        ),
    ]


def _by_server(
    levels: Sequence[RepeatedLevel],
    picks: Sequence[tuple[str, Callable[[RepeatedLevel], Median]]],
    *,
    scale: float = 1.0,
) -> list[Series]:
    urls = list(dict.fromkeys(level.url for level in levels))
    series: list[Series] = []
    for url in urls:
        for name, pick in picks:
            points = sorted(
                (level.rate or float(level.concurrency or 0), _scaled(pick(level).median, scale))
                for level in levels
                if level.url == url
            )
            words = [word for word in (url if len(urls) > 1 else "", name) if word]
            series.append(Series(", ".join(words) or "measured", points))
    return series


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _middle_repeats(results: Sequence[LevelResult]) -> list[LevelResult]:
    """Of each level that went to its end, the repeat with the middle throughput."""
    groups = [[level for level in g if not level.is_given_up] for g in level_groups(results)]
    middles = [
        sorted(group, key=lambda level: level.output_tokens_per_second)[len(group) // 2]
        for group in groups
        if group
    ]
    return middles[:MAX_LINES]


def _title(title: str, results: Sequence[LevelResult], shown: Sequence[LevelResult]) -> str:
    if len(shown) < MAX_LINES:
        return title
    return f"{title} (the first {MAX_LINES} of {len(level_groups(results))} levels)"


def _nines(share: float) -> float:
    """Quantiles stand as far apart as the numbers of their nines."""
    return _LARGEST if share == 1 else -math.log10(1 - share)


def _percentile_name(place: float) -> str:
    if place == _LARGEST:
        return "max"
    return f"{100 * (1 - 10**-place):.4g}"
