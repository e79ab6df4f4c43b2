"""What the engine asks of an executor that draws tokens itself, several in a row."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    # Where there is a GPU they are not needed, and this file is torch-free.
    from service.engine.drawn_natively import NativeSettings

__all__ = ["FAILED", "NOT_COMPUTED", "DrawnRow", "DrawsAhead", "EndsRunsEarly"]

# What a row has in place of a drawn token's id.
NOT_COMPUTED = -1  # the row was not used, or had come to its end
FAILED = -2  # its logits define no distribution


class DrawnRow(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence of which tokens are computed and drawn.

    Made for every row of every step, which is why it is no dataclass.

    Attributes:
        token_id: The token to compute first.
        start: Its position; all before it are in the blocks.
        last: Position of the last token to compute.
        block_ids: Blocks of the sequence in order, at least up to ``last``.
        temperature: Above zero.
        top_k: 0 keeps all tokens.
        top_p: 1 keeps all tokens.
        min_p: 0 keeps all tokens.
        seed: From 0 to 2^64 - 1.
        sample: Which continuation of its prompt it is.
        native_settings: The same for the compiled kernels.
    """

    token_id: int
    start: int
    last: int
    block_ids: Sequence[int]
    temperature: float = 1.0
    top_k: int = 1
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    sample: int = 0
    native_settings: "NativeSettings | None" = None


@runtime_checkable
class DrawsAhead(Protocol):
    """An executor that can go on from token to token without the engine."""

    @property
    def max_steps_ahead(self) -> int:
        """Most tokens of a row in one go."""
        ...

    @property
    def seconds_ahead(self) -> float:
        """How long such a go may take.

        What arrives meanwhile waits for its end, and for that of one that is queued, unless the
        executor ends them early.
        """
        ...

    @property
    def least_prompt_tokens(self) -> int:
        """Tokens of prompts that take hardly longer than one."""
        ...

    @property
    def least_prompt_seconds(self) -> float:
        """How long prompts may take beside streams, however short the streams' own steps are."""
        ...

    @property
    def draws_beside_prompts(self) -> bool:
        """Whether streams are drawn ahead in a step with prompts too, not computed with them."""
        ...

    def draw_ahead(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        """Start computing and drawing up to ``num_steps`` tokens of each row.

        Returns:
            Of each step, as soon as it is done, the drawn id of each row, or NOT_COMPUTED or
            FAILED.

        Raises:
            ValueError: A row does not fit its blocks or the model's context.
        """
        ...

    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        """Start some steps more for the rows of the last call, which go on where they are."""
        ...


@runtime_checkable
class EndsRunsEarly(Protocol):
    """An executor whose runs need not be over before somebody else has a turn."""

    def end_runs_early_for(self, descriptor: int) -> None:
        """Let runs give fewer steps, but one, once something can be read from a descriptor.

        Args:
            descriptor: Of a socket that stays open, as long as anything is computed.
        """
        ...
