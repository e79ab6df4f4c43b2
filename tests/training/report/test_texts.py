"""How the page picks which samples to show and which colour a surprise gets."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from training.report.texts import heat_level, spread
from training.run_log.events import Sample

Facts = dict[str, Any]
LogOf = Callable[[list[Facts]], Path]


def test_spread_keeps_first_and_last_and_looks_closer_at_the_beginning() -> None:
    samples = [Sample(step, "", "", None, None, None) for step in range(100, 5001, 100)]
    steps = [sample.step for sample in spread(samples, limit=6)]
    assert steps[0] == 100
    assert steps[-1] == 5000
    assert len(set(steps)) == 6
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert gaps == sorted(gaps)
    assert spread(samples[:3], limit=6) == samples[:3]


def test_more_surprise_never_gets_a_cooler_colour() -> None:
    levels = [heat_level(bits / 10) for bits in range(200)]
    assert levels == sorted(levels)
    assert set(levels) == set(range(8))
    assert heat_level(math.nan) == heat_level(math.inf) == 7
