"""What fits into the minutes of a run: evaluations take their share and no more."""

from dataclasses import replace

import pytest

from training.config import ScheduleSettings
from training.schedule import StepClock
from training.time_plan import MeasuredSeconds, TimePlan, plan_time

SECONDS = MeasuredSeconds(
    elapsed=10.0, step=1.0, evaluation=0.5, whole_evaluation=4.0, final_samples=2.0
)


def planned(seconds: MeasuredSeconds, *, minutes: float = 10.0) -> tuple[TimePlan, int]:
    """The plan, and after how many steps it was there."""
    clock = StepClock(settings=ScheduleSettings(minutes=minutes), steps_per_epoch=1e9)
    for step in range(1, 1000):
        now = replace(seconds, elapsed=seconds.elapsed + step * seconds.step)
        plan = plan_time(clock, now, step=step, max_evaluations=20)
        if plan.num_steps is not None:
            return plan, step
    raise AssertionError("never planned")


def test_steps_evaluations_and_the_end_fill_the_minutes() -> None:
    plan, _ = planned(SECONDS)
    assert plan.num_evaluations == 20
    assert plan.num_steps is not None
    spent = SECONDS.elapsed + plan.num_steps * SECONDS.step + 20 * SECONDS.evaluation
    spent += SECONDS.whole_evaluation + SECONDS.final_samples
    # What publishing takes is left.
    assert 600 - spent == pytest.approx(6.0, abs=2.0)


def test_slow_evaluations_are_fewer_and_take_a_fifth_of_the_time_at_most() -> None:
    plan, step = planned(replace(SECONDS, evaluation=20.0))
    left = 600.0 - SECONDS.elapsed - step * SECONDS.step
    assert 1 < plan.num_evaluations < 20
    assert plan.num_evaluations * 20.0 <= 0.2 * left


def test_there_is_one_evaluation_even_where_no_time_is_left() -> None:
    plan, step = planned(replace(SECONDS, evaluation=1e6))
    assert (plan.num_evaluations, plan.num_steps) == (1, step)
