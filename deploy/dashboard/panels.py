"""Reads a Grafana dashboard from its JSON: panels, where they stand, and what they ask.

Strict on purpose: a field that Grafana would need and does not find is an error here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

__all__ = ["DASHBOARD", "Dashboard", "DashboardError", "Panel", "Place", "Query", "read_dashboard"]

DASHBOARD = Path(__file__).resolve().parents[1] / "grafana" / "dashboards" / "nextword.json"

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"
_KINDS = ("row", "stat", "timeseries", "state-timeline")


class DashboardError(ValueError):
    """A dashboard that cannot be read; one line that says where."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel stands in Grafana's grid of 24 columns."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expression: PromQL with Grafana's variables in it.
        legend: How its series are called, with {{label}} for a label's value.
        source: Uid of the data source.
    """

    expression: str
    legend: str
    source: str

    def resolved(self, window: str) -> str:
        """The query as Grafana sends it when all models are shown.

        Args:
            window: What $__rate_interval stands for.
        """
        return self.expression.replace("$__rate_interval", window).replace("$model", ".*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        kind: row, stat, timeseries or state-timeline.
        unit: Grafana's name of it, empty for a row.
        is_stacked: Whether its series are drawn on top of each other.
        is_stepped: Whether values hold until the next one.
        maximum: Upper end of its axis, None where the values decide.
        minimum: Lower end.
        words: Texts that stand for values.
    """

    kind: str
    title: str
    place: Place
    unit: str = ""
    is_stacked: bool = False
    is_stepped: bool = False
    minimum: float | None = None
    maximum: float | None = None
    words: dict[str, str]
    queries: tuple[Query, ...] = ()


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard.

    Attributes:
        variables: Queries of its variables, by name.
    """

    title: str
    panels: tuple[Panel, ...]
    variables: dict[str, Query]


class _Node:
    """A JSON object that knows where it stands."""

    def __init__(self, value: Json, place: str) -> None:
        if not isinstance(value, dict):
            raise DashboardError(f"{place} must be an object, got {json.dumps(value)[:60]}")
        self._value = value
        self.place = place

    def text(self, key: str) -> str:
        return cast("str", self._get(key, str))

    def whole(self, key: str) -> int:
        return cast("int", self._get(key, int))

    def node(self, key: str) -> "_Node":
        return _Node(self._value.get(key), f"{self.place}.{key}")

    def nodes(self, key: str) -> "list[_Node]":
        values = cast("list[Json]", self._get(key, list))
        return [_Node(value, f"{self.place}.{key}[{n}]") for n, value in enumerate(values)]

    def number(self, key: str) -> float | None:
        return None if key not in self._value else float(cast("float", self._get(key, int, float)))

    def texts(self) -> dict[str, str]:
        """The texts of value mappings."""
        return {key: self.node(key).text("text") for key in self._value}

    def _get(self, key: str, *kinds: type) -> Json:
        value = self._value.get(key)
        if not isinstance(value, kinds) or isinstance(value, bool):
            names = " or ".join(kind.__name__ for kind in kinds)
            got = json.dumps(value)[:60]
            raise DashboardError(f"{self.place}.{key} must be {names}, got {got}")
        return cast("Json", value)


def read_dashboard(path: Path = DASHBOARD) -> Dashboard:
    """Read a dashboard.

    Raises:
        DashboardError: It is none that Grafana would show whole.
    """
    try:
        root = _Node(json.loads(path.read_text(encoding="utf-8")), path.name)
    except (OSError, ValueError) as error:
        raise DashboardError(f"{path}: cannot be read as JSON: {error}") from None
    variables: dict[str, Query] = {}
    for variable in root.node("templating").nodes("list"):
        source = variable.node("datasource").text("uid")
        asked = variable.node("query").text("query")
        variables[variable.text("name")] = Query(asked, "", source)
    return Dashboard(root.text("title"), tuple(map(_panel, root.nodes("panels"))), variables)


def _panel(node: _Node) -> Panel:
    kind, title, grid = node.text("type"), node.text("title"), node.node("gridPos")
    if kind not in _KINDS:
        raise DashboardError(f"{node.place}.type must be one of {', '.join(_KINDS)}, got {kind}")
    place = Place(grid.whole("x"), grid.whole("y"), grid.whole("w"), grid.whole("h"))
    if kind == "row":
        return Panel(kind=kind, title=title, place=place, words={})
    defaults = node.node("fieldConfig").node("defaults")
    custom = defaults.node("custom") if kind == "timeseries" else None
    mappings = defaults.nodes("mappings") if kind != "timeseries" else []
    words: dict[str, str] = {}
    for mapping in mappings:
        words |= mapping.node("options").texts()
    return Panel(
        kind=kind,
        title=title,
        place=place,
        unit=defaults.text("unit"),
        is_stacked=custom is not None and custom.node("stacking").text("mode") == "normal",
        is_stepped=custom is not None and custom.text("lineInterpolation") == "stepAfter",
        minimum=defaults.number("min"),
        maximum=defaults.number("max"),
        words=words,
        queries=tuple(_query(target) for target in node.nodes("targets")),
    )


def _query(node: _Node) -> Query:
    source = node.node("datasource").text("uid")
    return Query(node.text("expr"), node.text("legendFormat"), source)
