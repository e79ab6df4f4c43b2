"""The error of a load test that cannot be run as it was asked for."""

from nextword.errors import NotPossibleError

__all__ = ["PlanError", "check_range"]


class PlanError(NotPossibleError):
    """A load test cannot be run as it was asked for; one line naming option, limit and value."""


def check_range(name: str, value: float | None, low: float, high: float) -> None:
    """Refuse a number outside of its limits; None is always right.

    Raises:
        PlanError: It is.
    """
    if value is not None and not low <= value <= high:
        raise PlanError(f"{name} must be from {low:g} up to {high:g}, got {value:g}")
