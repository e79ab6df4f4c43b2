"""When inspections may be computed while others stream, so that they cost these a bounded share.

Torch-free. Where nobody else streams there is no limit.
"""

__all__ = ["InspectionPace"]

# Of the time that steps take without inspections.
SHARE_OF_STEPS = 0.08
# In deterministic mode the clock has no say in what is computed together.
FIXED_STEPS_BETWEEN_TURNS = 12


class InspectionPace:
    """What inspections have cost and streams have not yet made up for.

    Args:
        is_fixed: Whether turns are counted out and the measured times ignored.
    """

    def __init__(self, *, is_fixed: bool) -> None:
        self._is_fixed = is_fixed
        # Steps to wait, or seconds.
        self._debt = 0.0

    @property
    def has_turn(self) -> bool:
        """Whether something may be inspected now, beside streams."""
        return self._debt <= 0.0

    def note_turn(self, seconds: float) -> None:
        """Something was inspected beside streams.

        Args:
            seconds: What it has added to their step.
        """
        self._debt += FIXED_STEPS_BETWEEN_TURNS if self._is_fixed else max(seconds, 0.0)

    def note_step(self, seconds: float) -> None:
        """A step of streams without inspections has taken so long.

        Nothing is saved up: a turn after a long time without one costs what any turn costs.
        """
        paid = 1.0 if self._is_fixed else SHARE_OF_STEPS * seconds
        self._debt = max(self._debt - paid, 0.0)
