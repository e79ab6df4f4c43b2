"""Whether every query of a dashboard and every alert rule finds something in a real Prometheus."""

import math
import re

from deploy.dashboard.drawing import Span
from deploy.dashboard.panels import Dashboard
from deploy.dashboard.prometheus_api import Prometheus, PrometheusError, Rule

__all__ = ["compared", "dashboard_faults", "rule_faults"]

# How every rule ends; what stands before it has a value as long as a loaded service is scraped.
_COMPARISON = re.compile(r"\A(?P<compared>.+?)\s*(?:<|>|<=|>=)\s*[\d.]+\s*\Z", re.DOTALL)


def compared(expression: str) -> str:
    """What an alert's expression compares with its threshold.

    Raises:
        ValueError: It does not end with a comparison.
    """
    match = _COMPARISON.match(expression)
    if match is None:
        raise ValueError(f"a rule must end with a comparison with a number, got {expression!r}")
    return match["compared"]


def dashboard_faults(dashboard: Dashboard, prometheus: Prometheus, span: Span) -> list[str]:
    """The queries that fail, or have no number in all of a span."""
    faults: list[str] = []
    for panel in dashboard.panels:
        for query in panel.queries:
            where, asked = f"panel {panel.title!r}", query.resolved(span.window)
            try:
                series = prometheus.over(asked, start=span.start, end=span.end, step=span.step)
            except PrometheusError as error:
                faults.append(f"{where}: {error}")
                continue
            if not any(each.has_numbers for each in series):
                faults.append(f"{where}: nothing answers {asked}")
    for name, query in dashboard.variables.items():
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", query.expression)
        if match is None:
            faults.append(f"variable {name}: {query.expression} asks for no label's values")
        elif not prometheus.label_values(match[2], match[1]):
            faults.append(f"variable {name}: nothing answers {query.expression}")
    return faults


def rule_faults(
    prometheus: Prometheus, rules: list[Rule], *, start: float, end: float
) -> list[str]:
    """The rules whose turn failed, or whose compared side never has a number."""
    faults: list[str] = []
    for rule in rules:
        if rule.health != "ok":
            faults.append(f"rule {rule.name}: {rule.health}: {rule.fault}")
            continue
        asked = compared(rule.expression)
        step = max(1.0, math.ceil((end - start) / 100))
        series = prometheus.over(asked, start=start, end=end, step=step)
        if not any(each.has_numbers for each in series):
            faults.append(f"rule {rule.name}: nothing answers {asked}")
    return faults
