"""Numbers as Grafana shows them: 0.012 in "s" is 12 ms."""

__all__ = ["readable"]

_SUFFIX = "suffix:"
_WORDS = {"reqps": " req/s", "cps": "/s", "short": "", "none": ""}


def readable(value: float, unit: str) -> str:
    """A value with the name of its unit, in three digits.

    Args:
        value: A number.
        unit: Grafana's name of the unit.

    Raises:
        ValueError: A unit that no panel has had so far.
    """
    if unit == "s":
        return _seconds(value)
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    if unit.startswith(_SUFFIX):
        return _thousands(value) + unit.removeprefix(_SUFFIX)
    if unit not in _WORDS:
        raise ValueError(f"unit must be one of {', '.join(_WORDS)} and a few more, got {unit!r}")
    return _thousands(value) + _WORDS[unit]


def _seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    for limit, factor, name in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if abs(value) < limit:
            return f"{value * factor:.3g} {name}"
    return f"{value:.3g} s"


def _thousands(value: float) -> str:
    return f"{value / 1000:.3g} k" if abs(value) >= 1000 else f"{value:.3g}"
