"""How the learning rate moves, and how many updates fit the time."""

from dataclasses import dataclass

from training.config import ScheduleSettings

__all__ = ["StepClock", "rate_scale"]

# Besides the evenly spread evaluations: early ones, when a model changes most.
_EARLY_EVALUATIONS = (1 / 40, 1 / 12)

_DEFAULT_MINUTES = 10.0
# The first updates pay for memory, caches and, when compiled, for the compilation.
_UNTYPICAL_STEPS = 3
_MIN_MEASURED_STEPS = 10
_MIN_MEASURED_SECONDS = 3.0
# Of a longer run a longer stretch is measured: a machine is not equally busy all the time.
_MEASURED_SHARE = 0.05


def rate_scale(step: int, *, num_steps: int, settings: ScheduleSettings) -> float:
    """Share of the peak rate at an update, counted from 0: warm-up, plateau, linear fall.

    A linear fall to nearly zero at the end of the budget does as well as a cosine or better
    (Bergsma et al. 2025, "Straight to zero").
    """
    warmup = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    num_falling = max(1, round(num_steps * settings.decay_fraction))
    num_left = num_steps - step
    if num_left >= num_falling:
        return warmup
    final = settings.final_rate_fraction
    return min(warmup, final + (1.0 - final) * num_left / num_falling)


@dataclass(slots=True, kw_only=True)
class StepClock:
    """Finds the number of updates: from steps and epochs at once, from minutes by measuring.

    Args:
        settings: The limits the user gave; the tightest counts.
        steps_per_epoch: Updates that show the whole training text once.
    """

    settings: ScheduleSettings
    steps_per_epoch: float
    _num_seen: int = 0
    _num_timed: int = 0
    _seconds: float = 0.0

    @property
    def minutes(self) -> float:
        """The time limit in force, 0 where only steps or epochs count."""
        if self.settings.minutes or self.settings.steps or self.settings.epochs:
            return self.settings.minutes
        return _DEFAULT_MINUTES

    @property
    def limit_without_time(self) -> int | None:
        """Updates that steps and epochs allow, None where neither is set."""
        limits = [self.settings.steps] if self.settings.steps else []
        if self.settings.epochs:
            limits.append(max(1, round(self.settings.epochs * self.steps_per_epoch)))
        return min(limits) if limits else None

    @property
    def known_num_steps(self) -> int | None:
        """Updates in all, None where their time has to be measured first."""
        return None if self.minutes else self.limit_without_time

    def is_evaluation_step(
        self, step: int, *, num_steps: int | None, num_evaluations: int | None
    ) -> bool:
        """Whether the held-out loss is measured after an update: evenly, early, and at the end."""
        if num_steps is None:
            return False
        interval = max(1, round(num_steps / (num_evaluations or self.settings.evaluations)))
        early = {round(share * num_steps) for share in _EARLY_EVALUATIONS}
        return step >= num_steps or step % interval == 0 or step in early

    def plan(self, *, step: int, step_seconds: float, remaining_seconds: float) -> int | None:
        """Take in one update's time; the number of updates in all as soon as it is known.

        Args:
            step: Updates done.
            step_seconds: What the last one took.
            remaining_seconds: Until the time limit, less what evaluations and samples will take.
        """
        limit = self.limit_without_time
        if not self.minutes:
            return limit
        self._num_seen += 1
        if self._num_seen > _UNTYPICAL_STEPS:
            self._num_timed += 1
            self._seconds += step_seconds
        wanted_seconds = max(_MIN_MEASURED_SECONDS, _MEASURED_SHARE * self.minutes * 60.0)
        is_measured = self._num_timed >= _MIN_MEASURED_STEPS and self._seconds >= wanted_seconds
        if remaining_seconds > 0 and not is_measured and (limit is None or step < limit):
            return None
        mean_seconds = self._seconds / max(1, self._num_timed) or step_seconds
        more = int(max(0.0, remaining_seconds) / mean_seconds)
        return min(step + more, limit or step + more)
