"""Turns a chart into an inline SVG that follows the page's colours and font, or into a PNG picture.

The same facts give the same bytes: no dates, no random ids, none of the user's matplotlib
settings, no state left behind in matplotlib.
"""

import dataclasses
import io
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from training.report.markup import Markup, tag
from training.report.palette import PLACEHOLDERS, Palette

Draw = Callable[[Figure, Palette], None]

_PNG_DOTS_PER_INCH = 160


@dataclasses.dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, its name (used in ids: letters and hyphens) and what it shows, for those who
    cannot see it."""

    name: str
    description: str
    draw: Draw
    height_inches: float = 3.6


def inline_svg(chart: Chart) -> Markup:
    """Returns the chart twice, for wide and for narrow screens; the page's style sheet shows one
    of them."""
    return tag(
        "div",
        _svg(chart, size=(8.6, chart.height_inches), variant="wide"),
        _svg(chart, size=(4.2, chart.height_inches), variant="narrow"),
        class_="chart",
    )


def png(chart: Chart, palette: Palette) -> bytes:
    """Returns the chart as a picture for places that show no SVG."""
    with _fixed_settings(chart.name):
        figure = Figure(figsize=(8.6, chart.height_inches), layout="constrained")
        figure.set_facecolor(palette.surface)
        chart.draw(figure, palette)
        FigureCanvasAgg(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_PNG_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def _svg(chart: Chart, *, size: tuple[float, float], variant: str) -> Markup:
    name = f"{chart.name}-{variant}"
    with _fixed_settings(name):
        figure = Figure(figsize=size, layout="constrained")
        chart.draw(figure, PLACEHOLDERS)
        FigureCanvasSVG(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    source = buffer.getvalue()
    source = source[source.index("<svg") :]
    source = re.sub(r"<metadata>.*?</metadata>\s*", "", source, flags=re.DOTALL)
    # Ids must be unique in the page, which holds several of these.
    source = re.sub(r'\bid="', f'id="{name}-', source)
    source = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", source)
    source = re.sub(r"font: (\d+(?:\.\d+)?px) [^;\"]*", r"font: \1 var(--font)", source)
    for field in dataclasses.fields(PLACEHOLDERS):
        placeholder: str = getattr(PLACEHOLDERS, field.name)
        source = source.replace(placeholder, f"var(--chart-{field.name.replace('_', '-')})")
    label = tag("title", chart.description, id=f"{name}-title").html
    opening, rest = source.split(">", maxsplit=1)
    roles = f'class="{variant}" role="img" aria-labelledby="{name}-title"'
    return Markup(f"{opening} {roles}>{label}{rest.strip()}")


@contextmanager
def _fixed_settings(salt: str) -> Generator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "svg.hashsalt": salt,
                "svg.fonttype": "none",
                "font.size": 10.0,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "path.simplify": True,
            }
        )
        yield
