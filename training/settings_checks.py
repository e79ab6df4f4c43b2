"""Checks that all settings share: one error, which names setting, limit and given value."""

__all__ = ["ConfigurationError", "check_choice", "check_range"]


class ConfigurationError(ValueError):
    """A setting is unknown, of the wrong type or out of its range; names it, limit and value."""


def check_range(
    section: str, settings: object, name: str, low: float, high: float = float("inf")
) -> None:
    """Refuse a number of ``settings`` outside of low to high, NaN included."""
    value = getattr(settings, name)
    # Written so that NaN fails.
    if not low <= value <= high:
        limit = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise ConfigurationError(f"{section}.{name} must be {limit}, got {value}")


def check_choice(section: str, settings: object, name: str, choices: tuple[str, ...]) -> None:
    """Refuse a text of ``settings`` that is none of the choices."""
    value = getattr(settings, name)
    if value not in choices:
        raise ConfigurationError(
            f"{section}.{name} must be one of {', '.join(choices)}, got {value!r}"
        )
