"""Line charts as SVG, drawn here so that a page with them needs nothing else."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["COLORS", "Chart", "Series", "draw"]

# Colours of a page's style sheet, which knows them for light and dark.
COLORS = 6
_WIDTH, _HEIGHT = 520, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 44
_MAX_MARKS = 24
_TICKS = 5
# Shorter axes are one value; on logarithmic ones smaller heights are gaps, as 0 is.
_SHORTEST = 1e-12


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name, and its points from left to right; a gap where there is no value."""

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart with lines over one axis.

    Attributes:
        title: What it shows.
        x_name: Name and unit below.
        y_name: Name and unit beside.
        series: The lines.
        is_x_log: Whether equal lengths below are equal factors.
        is_y_log: The same for the height; otherwise it begins at 0.
        bound: A height that is marked across, and its name.
        show_x: Writes a value below.
        x_ticks: Values to mark below; None chooses round ones.
    """

    title: str
    x_name: str
    y_name: str
    series: Sequence[Series]
    is_x_log: bool = False
    is_y_log: bool = False
    bound: tuple[float, str] | None = None
    show_x: Callable[[float], str] = "{:g}".format
    x_ticks: Sequence[float] | None = None


def draw(chart: Chart) -> str:
    """A figure with the chart and a legend; a sentence where there is nothing to draw."""
    xs = [x for series in chart.series for x, y in series.points if y is not None]
    ys = [y for series in chart.series for _, y in series.points if y is not None]
    if chart.is_y_log:
        ys = [y for y in ys if y >= _SHORTEST]
    caption = f"<figcaption>{escape(chart.title)}</figcaption>"
    if not xs or not ys:
        return f"<figure>{caption}<p>Nothing was measured.</p></figure>"
    bound = [] if chart.bound is None else [chart.bound[0]]
    across = _Axis.over(xs, is_log=chart.is_x_log, from_zero=False, ticks=chart.x_ticks)
    upward = _Axis.over([*ys, *bound], is_log=chart.is_y_log, from_zero=not chart.is_y_log)
    parts = [*_grid(chart, across, upward)]
    for number, series in enumerate(chart.series):
        parts += _line(chart, series, number, across, upward)
    if chart.bound is not None:
        y = _y(upward, chart.bound[0])
        parts.append(f'<line class="bound" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.title)}">'
        f"{''.join(parts)}</svg>"
    )
    return f"<figure>{caption}{drawing}{_legend(chart)}</figure>"


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    is_log: bool
    ticks: Sequence[float]

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        *,
        is_log: bool,
        from_zero: bool,
        ticks: Sequence[float] | None = None,
    ) -> "_Axis":
        low, high = min(values), max(values)
        if is_log:
            low, high = low / 1.1, high * 1.1
            return cls(low, high, is_log, ticks or _log_ticks(low, high))
        if from_zero:
            low, high = min(low, 0.0), high * 1.05
        if high - low < _SHORTEST:
            low, high = low - 0.5, high + 0.5
        step = _round_step((high - low) / _TICKS)
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        chosen = [number * step for number in range(first, last + 1)]
        return cls(low, high, is_log, ticks or chosen)

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def _round_step(rough: float) -> float:
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    if high / low < 8:
        factors = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    else:
        factors = (1.0, 2.0, 5.0) if high / low < 2000 else (1.0,)
    found = [f * 10.0**power for power in powers for f in factors if low <= f * 10.0**power <= high]
    return found or [low, high]


def _x(axis: _Axis, value: float) -> str:
    return f"{_LEFT + axis.share(value) * (_WIDTH - _LEFT - _RIGHT):.1f}"


def _y(axis: _Axis, value: float) -> str:
    return f"{_HEIGHT - _BOTTOM - axis.share(value) * (_HEIGHT - _TOP - _BOTTOM):.1f}"


def _grid(chart: Chart, across: _Axis, upward: _Axis) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts: list[str] = []
    for value in upward.ticks:
        y = _y(upward, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 6}" y="{y}">{value:g}</text>')
    for value in across.ticks:
        x = _x(across, value)
        parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        shown = escape(chart.show_x(value))
        parts.append(f'<text class="x" x="{x}" y="{bottom + 17}">{shown}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text class="x" x="{middle}" y="{_HEIGHT - 8}">{escape(chart.x_name)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text class="x" transform="translate(13 {middle}) rotate(-90)">'
        f"{escape(chart.y_name)}</text>"
    )
    return parts


def _line(chart: Chart, series: Series, number: int, across: _Axis, upward: _Axis) -> list[str]:
    color = f"c{number % COLORS}" + (" dashed" if number >= COLORS else "")
    steps: list[str] = []
    marks: list[str] = []
    is_begun = False
    for x, y in series.points:
        if y is None or (chart.is_y_log and y < _SHORTEST):
            is_begun = False
            continue
        place = f"{_x(across, x)} {_y(upward, y)}"
        steps.append(f"{'L' if is_begun else 'M'}{place}")
        is_begun = True
        if len(series.points) <= _MAX_MARKS:
            told = escape(f"{series.name}: {chart.show_x(x)}, {y:.4g}")
            cx, cy = place.split()
            mark = f'<circle class="{color}" cx="{cx}" cy="{cy}" r="3.5">'
            marks.append(f"{mark}<title>{told}</title></circle>")
    return [f'<path class="{color}" d="{"".join(steps)}"/>', *marks]


def _legend(chart: Chart) -> str:
    names = [
        f'<li><i class="c{number % COLORS}{" dashed" if number >= COLORS else ""}"></i>'
        f"{escape(series.name)}</li>"
        for number, series in enumerate(chart.series)
    ]
    if chart.bound is not None:
        names.append(f'<li><i class="bound"></i>{escape(chart.bound[1])}</li>')
    return f"<ul>{''.join(names)}</ul>" if len(names) > 1 else ""
