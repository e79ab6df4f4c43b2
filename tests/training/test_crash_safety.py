"""Death, disk errors and power cuts at every single filesystem operation of what must not be lost.

Each scenario has a positive control: a careless way of doing the same that these checks catch.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypedDict, cast

import pytest

_SCRIPT = Path(__file__).with_name("strike_everywhere.py")
_MIN_OPERATIONS = 8


class Outcome(TypedDict):
    """What strike_everywhere.py reports of one fault."""

    num_operations: int
    ends: dict[str, int]
    problems: list[str]


def _strike_everywhere(scenario: str, folder: Path, *faults: str) -> dict[str, Outcome]:
    process = subprocess.run(
        [sys.executable, _SCRIPT, scenario, folder, *faults],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr
    outcomes = cast("dict[str, Outcome]", json.loads(process.stdout))
    assert set(outcomes) == set(faults)
    return outcomes


@pytest.mark.parametrize(
    "scenario", ["checkpoint", "first checkpoint", "publication", "settings", "set aside"]
)
def test_whatever_happens_at_any_operation_the_old_or_the_new_is_there_complete(
    scenario: str, tmp_path: Path
) -> None:
    faults = ("kill", "power cut", "power cut after names", "I/O error", "full disk")
    outcomes = _strike_everywhere(scenario, tmp_path, *faults)
    for fault, outcome in outcomes.items():
        assert outcome["problems"] == [], fault
        assert outcome["num_operations"] >= _MIN_OPERATIONS
    for fault in ("kill", "power cut", "power cut after names"):
        assert set(outcomes[fault]["ends"]) == {"killed"}
    for fault in ("I/O error", "full disk"):
        assert set(outcomes[fault]["ends"]) <= {"refused", "survived"}
    if "checkpoint" in scenario:
        # Tried again after a pause, so that an error that does not last costs nothing.
        assert set(outcomes["I/O error"]["ends"]) == {"survived"}


def test_the_check_finds_a_save_that_is_not_atomic(tmp_path: Path) -> None:
    assert _strike_everywhere("careless checkpoint", tmp_path, "kill")["kill"]["problems"]


def test_the_check_finds_a_publication_in_place(tmp_path: Path) -> None:
    assert _strike_everywhere("careless publication", tmp_path, "kill")["kill"]["problems"]


def test_the_check_finds_a_save_that_does_not_flush(tmp_path: Path) -> None:
    faults = ("power cut", "power cut after names")
    outcomes = _strike_everywhere("unflushed checkpoint", tmp_path, *faults)
    assert all(outcomes[fault]["problems"] for fault in faults)
