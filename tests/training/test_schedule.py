"""The rate rises, stays and falls; the number of steps follows from limits or from measuring."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.run_settings import ScheduleSettings
from training.schedule import StepClock, rate_scale

SETTINGS = ScheduleSettings(warmup_steps=10, decay_fraction=0.5, final_rate_fraction=0.1)


def test_rate_rises_to_its_peak_and_falls_linearly_to_its_last() -> None:
    scales = [rate_scale(step, num_steps=100, settings=SETTINGS) for step in range(100)]
    assert scales[0] == pytest.approx(0.1)
    assert scales[9:51] == [1.0] * 42
    assert scales[75] == pytest.approx(0.1 + 0.9 * 0.5)
    assert scales[99] == pytest.approx(0.1 + 0.9 / 50)


@given(st.integers(1, 300), st.integers(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_rate_stays_between_nothing_and_its_peak(
    num_steps: int, warmup_steps: int, decay: float, final: float
) -> None:
    settings = ScheduleSettings(
        warmup_steps=warmup_steps, decay_fraction=decay, final_rate_fraction=final
    )
    scales = [rate_scale(s, num_steps=num_steps, settings=settings) for s in range(num_steps)]
    assert all(0 < scale <= 1 for scale in scales)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"steps": 7}, 7),
        ({"epochs": 2.0}, 20),
        ({"steps": 7, "epochs": 2.0}, 7),
        ({"steps": 70, "epochs": 2.0}, 20),
        ({"epochs": 0.001}, 1),
        ({"steps": 7, "minutes": 1.0}, None),
        ({}, None),
    ],
)
def test_number_of_steps_is_known_at_once_unless_time_counts(
    limits: dict[str, float], expected: int | None
) -> None:
    settings = ScheduleSettings(**limits)  # pyright: ignore[reportArgumentType]
    assert StepClock(settings=settings, steps_per_epoch=10.0).known_num_steps == expected


def test_ten_minutes_are_the_limit_where_none_is_given() -> None:
    assert StepClock(settings=ScheduleSettings(), steps_per_epoch=1.0).minutes == 10.0
    assert StepClock(settings=ScheduleSettings(steps=5), steps_per_epoch=1.0).minutes == 0.0


def planned(clock: StepClock, *, step_seconds: float, total_seconds: float) -> int:
    """Number of steps that a clock decides on, at constant speed but for three slow first steps."""
    elapsed = 0.0
    for step in range(1, 100_000):
        seconds = 50 * step_seconds if step <= 3 else step_seconds
        elapsed += seconds
        found = clock.plan(
            step=step, step_seconds=seconds, remaining_seconds=total_seconds - elapsed
        )
        if found is not None:
            return found
    raise AssertionError("never planned")


@pytest.mark.parametrize("step_seconds", [0.001, 0.1, 2.0])
def test_time_is_filled_at_the_measured_rate(step_seconds: float) -> None:
    clock = StepClock(settings=ScheduleSettings(minutes=20.0), steps_per_epoch=10.0)
    num_steps = planned(clock, step_seconds=step_seconds, total_seconds=1200.0)
    spent = step_seconds * (num_steps + 3 * 49)
    assert spent == pytest.approx(1200.0, abs=2 * step_seconds)


def test_the_other_limits_hold_beside_the_time() -> None:
    settings = ScheduleSettings(minutes=20.0, steps=100)
    clock = StepClock(settings=settings, steps_per_epoch=10.0)
    assert planned(clock, step_seconds=0.01, total_seconds=1200.0) == 100


def test_no_time_left_ends_with_the_step_that_is_done() -> None:
    clock = StepClock(settings=ScheduleSettings(minutes=1.0), steps_per_epoch=10.0)
    assert clock.plan(step=1, step_seconds=9.0, remaining_seconds=-5.0) == 1


@given(st.integers(1, 400), st.integers(1, 40))
def test_evaluations_are_even_and_the_last_step_has_one(num_steps: int, evaluations: int) -> None:
    clock = StepClock(
        settings=ScheduleSettings(steps=num_steps, evaluations=evaluations), steps_per_epoch=1.0
    )
    taken = [
        s
        for s in range(1, num_steps + 1)
        if clock.is_evaluation_step(s, num_steps=num_steps, num_evaluations=None)
    ]
    assert taken[-1] == num_steps
    assert len(taken) <= 1.5 * evaluations + 4
    assert not clock.is_evaluation_step(num_steps, num_steps=None, num_evaluations=None)
