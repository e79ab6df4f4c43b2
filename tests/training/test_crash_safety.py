"""Death, disk errors and power cuts at every single filesystem operation of what must not be lost.

Each scenario has a positive control: a careless way of doing the same that these checks catch.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypedDict, cast

import pytest

from tests.training.nursery import Nursery

_FOLDER = Path(__file__).parent
# As `python FOLDER/strike_everywhere.py` would run it.
_PROGRAM = f"""
import runpy, sys
sys.path.insert(0, {str(_FOLDER)!r})
runpy.run_path({str(_FOLDER / "strike_everywhere.py")!r}, run_name="__main__")
"""
_MIN_OPERATIONS = 8


class Outcome(TypedDict):
    """What strike_everywhere.py reports of one fault."""

    num_operations: int
    ends: dict[str, int]
    problems: list[str]


StrikeEverywhere: TypeAlias = "Callable[..., dict[str, Outcome]]"


@pytest.fixture
def strike_everywhere(nursery: Nursery, tmp_path: Path) -> StrikeEverywhere:
    """Runs strike_everywhere.py with a scenario and faults."""

    def strike(scenario: str, *faults: str) -> dict[str, Outcome]:
        ended = nursery.run(_PROGRAM, [scenario, str(tmp_path), *faults])
        assert ended.status == 0, ended.error
        outcomes = cast("dict[str, Outcome]", json.loads(ended.output))
        assert set(outcomes) == set(faults)
        return outcomes

    return strike


@pytest.mark.parametrize(
    "scenario", ["checkpoint", "first checkpoint", "publication", "settings", "set aside"]
)
def test_whatever_happens_at_any_operation_the_old_or_the_new_is_there_complete(
    scenario: str, strike_everywhere: StrikeEverywhere
) -> None:
    faults = ("kill", "power cut", "power cut after names", "I/O error", "full disk")
    outcomes = strike_everywhere(scenario, *faults)
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


def test_the_check_finds_a_save_that_is_not_atomic(strike_everywhere: StrikeEverywhere) -> None:
    assert strike_everywhere("careless checkpoint", "kill")["kill"]["problems"]


def test_the_check_finds_a_publication_in_place(strike_everywhere: StrikeEverywhere) -> None:
    assert strike_everywhere("careless publication", "kill")["kill"]["problems"]


def test_the_check_finds_a_save_that_does_not_flush(strike_everywhere: StrikeEverywhere) -> None:
    faults = ("power cut", "power cut after names")
    outcomes = strike_everywhere("unflushed checkpoint", *faults)
    assert all(outcomes[fault]["problems"] for fault in faults)
