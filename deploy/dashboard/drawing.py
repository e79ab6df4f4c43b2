"""Draws a dashboard's panels from what a Prometheus answers, in the places that Grafana gives them.

For pages and for machines without Grafana. It is no Grafana: colours, fonts and legends are ours.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deploy.dashboard.panels import Dashboard, Panel
from deploy.dashboard.prometheus_api import Prometheus, Series
from deploy.dashboard.units import readable

__all__ = ["Drawn", "Span", "draw"]

_COLUMN_INCHES, _ROW_INCHES = 0.72, 0.34
_COLORS = (
    *("#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#b58900", "#1f9e9e", "#d44a9c"),
    *("#6b7280", "#7a5c3d", "#5794f2", "#96d98d", "#ff9830", "#ff7383", "#ca95e5", "#4d7f17"),
)
_INK, _FAINT, _PAPER, _CARD = "#1f2430", "#6b7280", "#f3f4f6", "#ffffff"
_MAX_LEGENDS = 8
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Span:
    """What is drawn: from one moment to another, in seconds since 1970.

    Attributes:
        step: Seconds between two values.
        window: What $__rate_interval stands for.
    """

    start: float
    end: float
    step: float
    window: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """One panel and the series that were drawn in it."""

    panel: Panel
    series: tuple[tuple[str, Series], ...]


def draw(dashboard: Dashboard, prometheus: Prometheus, span: Span, path: Path) -> list[Drawn]:
    """Draw all panels into a PNG.

    Returns:
        What was drawn, by panel.

    Raises:
        PrometheusError: A query failed.
    """
    num_rows = max(panel.place.y + panel.place.height for panel in dashboard.panels)
    width, height = 24 * _COLUMN_INCHES, (num_rows + 1) * _ROW_INCHES
    figure = Figure(figsize=(width, height), facecolor=_PAPER)
    FigureCanvasAgg(figure)
    drawn: list[Drawn] = []
    for panel in dashboard.panels:
        series = tuple(
            (_legend(query.legend, each.labels), each)
            for query in panel.queries
            for each in prometheus.over(
                query.resolved(span.window), start=span.start, end=span.end, step=span.step
            )
        )
        place = panel.place
        box = (
            place.x / 24 + 0.004,
            1 - (place.y + place.height) / (num_rows + 1) + 0.15 / num_rows,
            place.width / 24 - 0.008,
            place.height / (num_rows + 1) - 0.3 / num_rows,
        )
        if panel.kind == "row":
            figure.text(box[0], box[1], panel.title, size=12, weight="bold", color=_INK)
            continue
        _draw_panel(figure, box, panel, series, span)
        drawn.append(Drawn(panel, series))
    figure.savefig(path, dpi=80)
    return drawn


def _draw_panel(
    figure: Figure,
    box: tuple[float, float, float, float],
    panel: Panel,
    series: Sequence[tuple[str, Series]],
    span: Span,
) -> None:
    card = figure.add_axes(box, facecolor=_CARD)
    card.set_xticks([])
    card.set_yticks([])
    card.spines[:].set_color("#d8dbe0")
    x, y, width, height = box
    # A row's height in the card, of which the title takes one.
    line = 1 / panel.place.height
    card.text(0.02, 1 - 0.5 * line, panel.title, size=9, va="center", color=_INK, weight="bold")
    shown = [(legend, each) for legend, each in series if each.has_numbers]
    if not shown:
        card.text(0.5, 0.5, "no values", ha="center", va="center", color=_FAINT)
        return
    if panel.kind == "stat":
        _draw_number(card, panel, shown[0][1])
        return
    num_lines = 1 + (min(len(shown), _MAX_LEGENDS) - 1) // 2
    foot = (0.12 + 0.062 * num_lines) * height
    inner = (x + 0.16 * width, y + foot, 0.81 * width, (1 - 1.1 * line) * height - foot)
    axes = figure.add_axes(inner, facecolor=_CARD)
    _prepare(axes, panel, span)
    if panel.kind == "state-timeline":
        _draw_states(axes, shown, span)
    else:
        _draw_lines(axes, panel, shown, span)
        _draw_legend(card, [legend for legend, _ in shown])


def _prepare(axes: Axes, panel: Panel, span: Span) -> None:
    axes.set_xlim(0, (span.end - span.start) / 60)
    axes.tick_params(labelsize=7, colors=_FAINT, length=2)
    axes.spines[:].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_minutes))
    axes.yaxis.set_major_locator(MaxNLocator(4))

    def with_unit(value: float, position: int | None) -> str:
        del position
        return readable(value, panel.unit)

    axes.yaxis.set_major_formatter(FuncFormatter(with_unit))


def _minutes(value: float, position: int | None) -> str:
    del position
    return f"{value:g} min"


def _draw_number(card: Axes, panel: Panel, series: Series) -> None:
    value = [value for _, value in series.points if math.isfinite(value)][-1]
    words = panel.words.get(f"{value:g}") or readable(value, panel.unit)
    card.text(0.5, 0.4, words, ha="center", va="center", size=20, color=_COLORS[0])


def _draw_lines(axes: Axes, panel: Panel, shown: Sequence[tuple[str, Series]], span: Span) -> None:
    moments = [
        span.start + n * span.step for n in range(round((span.end - span.start) / span.step) + 1)
    ]
    minutes = [(moment - span.start) / 60 for moment in moments]
    base = [0.0] * len(moments)
    drawstyle = "steps-post" if panel.is_stepped else "default"
    for number, (_, series) in enumerate(shown):
        color = _COLORS[number % len(_COLORS)]
        at = {round(moment, 3): value for moment, value in series.points}
        values = [at.get(round(moment, 3), math.nan) for moment in moments]
        if panel.is_stacked:
            values = [0.0 if math.isnan(value) else value for value in values]
            top = [low + value for low, value in zip(base, values, strict=True)]
            axes.fill_between(minutes, base, top, color=color, alpha=0.35, linewidth=0)
            base = values = top
        axes.plot(minutes, values, color=color, linewidth=1.2, drawstyle=drawstyle)
    low, high = axes.get_ylim()
    axes.set_ylim(
        low if panel.minimum is None else panel.minimum,
        (high if high > 0 else 1.0) if panel.maximum is None else panel.maximum,
    )


def _draw_states(axes: Axes, shown: Sequence[tuple[str, Series]], span: Span) -> None:
    for number, (legend, series) in enumerate(shown):
        bars: list[tuple[float, float]] = []
        for moment, _ in series.points:
            start, length = (moment - span.start) / 60, span.step / 60
            if bars and start - sum(bars[-1]) < length / 2:
                start, length = bars[-1][0], start + length - bars.pop()[0]
            bars.append((start, length))
        color = _COLORS[number % len(_COLORS)]
        axes.broken_barh(bars, (number - 0.4, 0.8), color=color, alpha=0.6, linewidth=0)
        axes.text(0.1, number, legend, va="center", size=7, color=_INK)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks([])


def _draw_legend(card: Axes, legends: Sequence[str]) -> None:
    shown = list(legends[:_MAX_LEGENDS])
    if len(legends) > _MAX_LEGENDS:
        shown[-1] = f"and {len(legends) - _MAX_LEGENDS + 1} more"
    for number, legend in enumerate(shown):
        column, line = number % 2, (len(shown) - 1) // 2 - number // 2
        x, y = 0.02 + 0.49 * column, 0.045 + 0.062 * line
        color = _COLORS[number % len(_COLORS)]
        card.text(x, y, "\u2014", color=color, size=8, weight="bold", va="center")
        card.text(x + 0.045, y, legend, color=_FAINT, size=7, va="center")


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    if not pattern:
        return ", ".join(f"{key}={value}" for key, value in labels.items())
    return _LABEL.sub(lambda match: labels.get(match[1], ""), pattern)
