"""Numbers as people read them: counts, bytes, durations, losses.

The live bar, the plain lines, the report and the model card all say a quantity in the same words
because they ask here. Everything returns ASCII, and a number that is not finite is said in words
instead of hidden.
"""

import math

_DECIMAL_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def format_number(value: float, *, digits: int = 3) -> str:
    """Returns `value` with a fixed number of decimals; "not a number" and "infinite" in words."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    return f"{value:,.{digits}f}"


def format_count(value: int) -> str:
    """Returns a whole number with thousands separated: 1234567 gives "1,234,567"."""
    return f"{value:,}"


def format_short(value: float) -> str:
    """Returns about three significant digits with a decimal prefix: 3214567 gives "3.21 M"."""
    if not math.isfinite(value):
        return format_number(value)
    for scale, prefix in _DECIMAL_PREFIXES:
        # 999,500 would round to "1000 k": it belongs to the next prefix.
        if abs(value) >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {prefix}"
    return _three_digits(value)


def format_bytes(value: float) -> str:
    """Returns a size in decimal units: 163000 gives "163 kB"."""
    text = format_short(value)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def format_duration(seconds: float) -> str:
    """Returns a span of time in its two largest units: 200 gives "3 min 20 s"."""
    if not math.isfinite(seconds):
        return format_number(seconds)
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = whole // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60:02d} h"


def format_clock(seconds: float) -> str:
    """Returns a stopwatch reading: 754 gives "12:34", 7384 gives "2:03:04"."""
    if not math.isfinite(seconds):
        return "--:--"
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _three_digits(value: float) -> str:
    magnitude = abs(value)
    if magnitude >= 99.95 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 9.995 else f"{value:.2f}"
