"""Asks a Prometheus over its HTTP interface: queries over a time, rules, and what it scrapes."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict, cast

__all__ = ["Prometheus", "PrometheusError", "Rule", "Series"]

_SECONDS = 30


class PrometheusError(Exception):
    """No answer, or one that says what is wrong with the question."""


@dataclass(frozen=True, slots=True)
class Series:
    """One time series of an answer.

    Attributes:
        points: Seconds since 1970 and values, in order; NaN where something was divided by nothing.
    """

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def has_numbers(self) -> bool:
        """Whether any value is a number."""
        return any(math.isfinite(value) for _, value in self.points)


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule as Prometheus has it.

    Attributes:
        state: inactive, pending or firing.
        health: ok, err, or unknown before its first turn.
        fault: What its last turn failed with, empty where it did not.
    """

    name: str
    expression: str
    state: str
    health: str
    fault: str


class _Sample(TypedDict):
    metric: dict[str, str]
    values: list[tuple[float, str]]
    value: tuple[float, str]


class _Answer(TypedDict):
    result: list[_Sample]


class _Rule(TypedDict):
    name: str
    query: str
    state: str
    health: str
    lastError: NotRequired[str]


class _Group(TypedDict):
    rules: list[_Rule]


class _Rules(TypedDict):
    groups: list[_Group]


class Prometheus:
    """One Prometheus.

    Args:
        url: Its address with the scheme.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def at(self, expression: str, moment: float) -> list[Series]:
        """What a query for series, not for a bare number, gives at a moment."""
        data = cast("_Answer", self._ask("query", query=expression, time=moment))
        samples = data["result"]
        return [Series(each["metric"], (_point(each["value"]),)) for each in samples]

    def over(self, expression: str, *, start: float, end: float, step: float) -> list[Series]:
        """What a query gives from one moment to another."""
        answer = self._ask("query_range", query=expression, start=start, end=end, step=step)
        samples = cast("_Answer", answer)["result"]
        return [Series(each["metric"], tuple(map(_point, each["values"]))) for each in samples]

    def alert_rules(self) -> list[Rule]:
        """All alert rules."""
        answer = cast("_Rules", self._ask("rules", type="alert"))
        return [
            Rule(
                name=each["name"],
                expression=each["query"],
                state=each["state"],
                health=each["health"],
                fault=each.get("lastError", ""),
            )
            for group in answer["groups"]
            for each in group["rules"]
        ]

    def label_values(self, label: str, series: str) -> list[str]:
        """Values that a label has in some series."""
        path = f"label/{urllib.parse.quote(label)}/values"
        return cast("list[str]", self._ask(path, **{"match[]": series}))

    def _ask(self, path: str, **parameters: str | float) -> object:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
                body = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode("utf-8", "replace")
            raise PrometheusError(f"{path} {dict(parameters)}: {error.code} {said[:300]}") from None
        except (OSError, ValueError) as error:
            raise PrometheusError(f"{self.url}: no answer: {error}") from None
        return body["data"]


def _point(pair: tuple[float, str]) -> tuple[float, float]:
    return pair[0], float(pair[1])
