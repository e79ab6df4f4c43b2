"""A server with faults of its own: `python -m tests.contract.faulty_front`, options as usual.

Requests of certain seeds meet an exception of a built-in kind where their text is made: at their
first piece, or at their second.
"""

import sys

from service import token_stream
from service.choice_text import ChoiceText
from service.engine.messages import TokenOutput
from service.generation import TextPiece
from service.glass_box.trace_views import ByteSpans
from service.main import main
from service.models.model_store import ModelFolder
from service.parameters import EffectiveParameters

__all__ = ["FAULT_TEXT", "FIRST_PIECE_SEED", "SECOND_PIECE_SEED"]

FIRST_PIECE_SEED = 6661
SECOND_PIECE_SEED = 6662
FAULT_TEXT = "secret words at 0x7f00"


def break_choices() -> None:
    """Let texts of those seeds fail."""
    # Else tokens that come together share a piece, and a text may have no second one.
    token_stream.MAX_BATCH_TOKENS = 1
    make, take = ChoiceText.__init__, ChoiceText.take
    pieces_left: dict[int, int] = {}

    def made(
        self: ChoiceText,
        choice: int,
        folder: ModelFolder,
        parameters: EffectiveParameters,
        spans: ByteSpans | None = None,
    ) -> None:
        make(self, choice, folder, parameters, spans)
        match parameters.seed:
            case 6661:
                pieces_left[id(self)] = 0
            case 6662:
                pieces_left[id(self)] = 1
            case _:
                pieces_left.pop(id(self), None)

    def taken(self: ChoiceText, batch: TokenOutput) -> TextPiece | None:
        piece = take(self, batch)
        if id(self) in pieces_left and piece is not None:
            if pieces_left[id(self)] == 0:
                raise ValueError(FAULT_TEXT)
            pieces_left[id(self)] -= 1
        return piece

    ChoiceText.__init__ = made
    ChoiceText.take = taken


if __name__ == "__main__":
    break_choices()
    sys.exit(main())
