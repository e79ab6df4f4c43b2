"""How many steps and evaluations fit into the minutes of a run, once their times are known."""

from dataclasses import dataclass

from training.schedule import StepClock

__all__ = ["MeasuredSeconds", "TimePlan", "plan_time"]

# On a slow machine a sample takes long; training must not starve for being watched.
_MAX_EVALUATION_SHARE = 0.2
# Pictures, card and the checked writing of the weights.
_PUBLISHING_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSeconds:
    """What a run has taken so far, and what its parts take.

    Attributes:
        elapsed: All sessions of the run, preparation included.
        step: The last update.
        evaluation: One measurement of the held-out loss, with the samples shown at it.
        whole_evaluation: The measurement of all held-out text at the end.
        final_samples: The samples of the end.
    """

    elapsed: float
    step: float
    evaluation: float
    whole_evaluation: float
    final_samples: float


@dataclass(frozen=True, slots=True)
class TimePlan:
    """Updates in all, None while their time is still being measured, and evaluations in all."""

    num_steps: int | None
    num_evaluations: int


def plan_time(
    clock: StepClock, seconds: MeasuredSeconds, *, step: int, max_evaluations: int
) -> TimePlan:
    """Take in one update's time, and plan as soon as the time of updates is known.

    Args:
        clock: Knows the limits and the updates that were timed before.
        seconds: What was measured.
        step: Updates done.
        max_evaluations: As many as are asked for.
    """
    left = (
        clock.minutes * 60.0
        - seconds.elapsed
        - seconds.whole_evaluation
        - seconds.final_samples
        - _PUBLISHING_SECONDS
    )
    affordable = int(_MAX_EVALUATION_SHARE * left / max(seconds.evaluation, 1e-9))
    num_evaluations = max(1, min(max_evaluations, affordable))
    num_steps = clock.plan(
        step=step,
        step_seconds=seconds.step,
        remaining_seconds=left - num_evaluations * seconds.evaluation,
    )
    return TimePlan(num_steps, num_evaluations)
