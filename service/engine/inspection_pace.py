"""When inspections may be computed while others stream, so that they cost these a bounded share.

Torch-free. One pace for all models of a process. Where nobody else streams there is no limit.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from service.engine.messages import ModelKind

__all__ = ["InspectionPace", "Inspector"]

# Of the time that steps take without inspections, for all who inspect together.
SHARE_OF_STEPS = 0.08
# In deterministic mode the clock has no say in what is computed together.
FIXED_STEPS_BETWEEN_TURNS = 12


class Inspector(enum.Enum):
    """Who inspects: sequences of a model, or what is answered between the network's steps."""

    NETWORK = enum.auto()
    NGRAM = enum.auto()
    QUESTIONS = enum.auto()

    @property
    def kind(self) -> ModelKind:
        """Beside which model's steps it is computed."""
        return ModelKind.NGRAM if self is Inspector.NGRAM else ModelKind.TRANSFORMER


@dataclass(slots=True)
class _Debt:
    """What the last turn has cost and streams have not yet made up for."""

    num_steps: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Watched:
    is_fixed: bool
    serves_streams: Callable[[], bool]


class InspectionPace:
    """Who may inspect when.

    Each inspector has a debt of its own, so that none starves another. What streams make up for is
    divided among the debts, so that all inspectors together take no more than one alone.
    """

    def __init__(self) -> None:
        self._watched: dict[ModelKind, _Watched] = {}
        self._debts = {inspector: _Debt() for inspector in Inspector}

    def watch(self, kind: ModelKind, *, is_fixed: bool, serves_streams: Callable[[], bool]) -> None:
        """Take the streams of one more model into account.

        Args:
            kind: Which model.
            is_fixed: Whether turns within its steps are counted out and the times ignored.
            serves_streams: Whether it has any now.
        """
        self._watched[kind] = _Watched(is_fixed, serves_streams)

    @property
    def has_streams(self) -> bool:
        """Whether any model serves somebody who wants only tokens."""
        return any(watched.serves_streams() for watched in self._watched.values())

    def has_turn(self, inspector: Inspector) -> bool:
        """Whether something may be inspected now."""
        debt = self._debts[inspector]
        if not debt.num_steps and not debt.seconds:
            return True
        for kind, watched in self._watched.items():
            is_counted = watched.is_fixed and inspector.kind is kind
            owed = debt.num_steps if is_counted else debt.seconds
            if owed > 0.0 and watched.serves_streams():
                return False
        return True

    def note_turn(self, inspector: Inspector, seconds: float) -> None:
        """Something was inspected.

        Args:
            inspector: Whose turn it was.
            seconds: What it has added to the time of those who stream.
        """
        if self.has_streams:
            self._debts[inspector] = _Debt(FIXED_STEPS_BETWEEN_TURNS, max(seconds, 0.0))

    def note_step(self, kind: ModelKind, seconds: float) -> None:
        """A step of streams of a model without inspections has taken so long.

        Nothing is saved up: a turn after a long time without one costs what any turn costs.
        """
        if not any(debt.num_steps or debt.seconds for debt in self._debts.values()):
            return
        owing = [debt for who, debt in self._debts.items() if who.kind is kind and debt.num_steps]
        for debt in owing:
            debt.num_steps = max(debt.num_steps - 1.0 / len(owing), 0.0)
        owing = [debt for debt in self._debts.values() if debt.seconds]
        for debt in owing:
            debt.seconds = max(debt.seconds - SHARE_OF_STEPS * seconds / len(owing), 0.0)
