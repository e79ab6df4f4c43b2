"""Tokens that the device draws for the streams of a step, and how they come to their sequences."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.engine.drawn_rows import FAILED, NOT_COMPUTED
from service.engine.messages import EngineFinish
from service.engine.request import Sequence

__all__ = ["DrawnRun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRun:
    """Tokens that the device draws for some sequences.

    Attributes:
        sequences: Of each row.
        is_wanted: Whether its tokens are still its sequence's next ones.
        starts: Position of the first token that is computed.
        lasts: Position of the last one that the row may compute, in this run and those after it.
        drawn: Of each step the drawn ids.
        num_steps: Steps.
        began: When it was started; None where its time is not that of its tokens alone.
        may_go_on: Whether its step has neither other streams nor prompts.
    """

    sequences: list[Sequence]
    is_wanted: list[bool]
    starts: list[int]
    lasts: list[int]
    drawn: Iterator[list[int]]
    num_steps: int
    began: float | None
    may_go_on: bool

    def append_drawn(
        self,
    ) -> tuple[int, list[int], list[EngineFinish | None], Exception | None]:
        """Continue the sequences by what is drawn, while the device computes the next step.

        Returns:
            How many steps were made, how many tokens were drawn for each sequence, why it ends,
            and what went wrong after these.
        """
        num_made = 0
        num_drawn = [0] * len(self.sequences)
        finishes: list[EngineFinish | None] = [None] * len(self.sequences)
        try:
            for ids in self.drawn:
                self._append(ids, num_drawn, finishes)
                num_made += 1
        except Exception as error:
            return num_made, num_drawn, finishes, error
        return num_made, num_drawn, finishes, None

    def _append(
        self, ids: list[int], num_drawn: list[int], finishes: list[EngineFinish | None]
    ) -> None:
        for place, token_id in enumerate(ids):
            if token_id == NOT_COMPUTED or finishes[place] is not None:
                continue
            if not self.is_wanted[place]:
                continue
            if token_id == FAILED:
                finishes[place] = EngineFinish.NUMERICAL_ERROR
                continue
            num_drawn[place] += 1
            finishes[place] = self.sequences[place].append(token_id)
