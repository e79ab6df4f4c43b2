"""The report's curves: shapes in the SVG, pixels of the pictures, the same bytes every time."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import matplotlib.image
import matplotlib.pyplot
import numpy as np
import pytest

from training.report import write_report
from training.report.charts import loss_chart
from training.report.drawing import inline_svg
from training.report.run_facts import read_run_facts

SVG = "{http://www.w3.org/2000/svg}"


def loss_pictures(log: Path) -> list[ET.Element]:
    """The drawings for wide and for narrow screens."""
    chart = loss_chart(read_run_facts(log))
    assert chart is not None
    return list(ET.fromstring(inline_svg(chart).html))


def paths(root: ET.Element, colour: str) -> list[list[tuple[float, float]]]:
    """The points of all lines of one colour."""
    found = [
        each.attrib["d"]
        for each in root.iter(f"{SVG}path")
        if f"stroke: var(--chart-{colour})" in each.attrib.get("style", "")
    ]
    numbers = [re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", each) for each in found]
    return [[(float(x), float(y)) for x, y in each] for each in numbers]


def test_the_curve_shows_every_evaluation_and_marks_the_lowest(finished_log: Path) -> None:
    for root in loss_pictures(finished_log):
        curve = max(paths(root, "held-out"), key=len)
        # The first point lies above the picture, so that the line is cut there.
        assert 19 <= len(curve) <= 20
        lowest = max(curve, key=lambda point: point[1])
        ring = [
            (float(use.attrib["x"]), float(use.attrib["y"]))
            for use in root.iter(f"{SVG}use")
            if "stroke-width: 1.8" in use.attrib["style"]
        ]
        assert ring == [pytest.approx(lowest, abs=0.01)]
        [line] = [path for path in paths(root, "ngram") if path[-1][0] - path[0][0] > 100]
        assert line[0][1] == line[-1][1]
        assert line[0][1] < lowest[1]  # the n-gram lies higher: it is worse


def test_both_axes_of_the_curve_agree(finished_log: Path) -> None:
    root, _ = loss_pictures(finished_log)
    texts = {"".join(each.itertext()).strip() for each in root.iter(f"{SVG}text")}
    assert {"nats per token", "bits per byte", "step", "n-gram of order 5, held out"} <= texts
    # A tick stands at y = a + b * nats on the left and at y = a + c * bits on the right.
    ticks: dict[str, list[tuple[float, float]]] = {"left": [], "right": []}
    for each in root.iter(f"{SVG}text"):
        label = "".join(each.itertext()).strip()
        if re.fullmatch(r"\d\.\d+", label):
            side = "left" if float(each.attrib["x"]) < 300 else "right"
            ticks[side].append((float(label), float(each.attrib["y"])))
    slopes = {
        side: (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
        for side, points in ticks.items()
    }
    assert slopes["left"] / slopes["right"] == pytest.approx(1.787 / 4.459, rel=1e-3)


def test_the_same_log_gives_the_same_bytes_and_matplotlib_is_left_as_it_was(
    finished_log: Path, tmp_path: Path
) -> None:
    first = write_report(finished_log, tmp_path / "first")
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "svg.fonttype": "path"}):
        before = dict(mpl.rcParams)
        second = write_report(finished_log, tmp_path / "second")
        assert dict(mpl.rcParams) == before
    assert [path.name for path in first] == ["report.html", "loss.png", "loss-dark.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert matplotlib.pyplot.get_fignums() == []
    assert sorted((tmp_path / "first").iterdir()) == sorted(first)


def test_the_pictures_show_both_curves_on_light_and_on_dark_ground(
    finished_log: Path, tmp_path: Path
) -> None:
    _, light, dark = write_report(finished_log, tmp_path / "report")
    for path, ground, held_out in ((light, "ffffff", "1f5fd0"), (dark, "171a1f", "7db2ff")):
        pixels = np.rint(matplotlib.image.imread(path)[:, :, :3] * 255).astype(int)
        assert pixels.shape[1] > 1200
        assert tuple(pixels[0, 0]) == tuple(bytes.fromhex(ground))
        near = np.abs(pixels - np.array(tuple(bytes.fromhex(held_out)))).sum(axis=2) < 12
        assert near.sum() > 1000
