"""What the engine asks of whatever computes next-token logits, on any device.

Blocks are the contract: the engine says which blocks of the cache hold a sequence, the executor
lays them out in memory as it likes. Shape letters: R rows of logits, V vocabulary, T new tokens of
a chunk, S tokens of a sequence so far, H query heads, L layers, C hidden width.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import msgspec
from torch import Tensor

from model.config import ModelConfig
from service.engine.trace_messages import NgramTrace

__all__ = [
    "ChunkInput",
    "ComputedStep",
    "Executor",
    "Explain",
    "InspectedChunk",
    "LogitsWanted",
    "Network",
    "NotDeterministicError",
]


# What an n-gram model says of one token after a row of its logits.
Explain: TypeAlias = Callable[[int], NgramTrace]


class LogitsWanted(enum.Enum):
    """After which of a chunk's tokens the logits are handed out."""

    NONE = enum.auto()
    LAST = enum.auto()
    ALL = enum.auto()


class ChunkInput(msgspec.Struct, frozen=True, kw_only=True):
    """Some consecutive tokens of one sequence to compute.

    Made for every row of every step, which is why it is no dataclass.

    Attributes:
        token_ids: The new tokens, at least one.
        start: Position of the first; all before it are in the sequence's blocks.
        block_ids: Blocks of the sequence in order, at least up to the last new token. The blocks
            that are written to belong to this sequence alone.
        logits: Which rows of logits to hand out.
        is_inspected: Whether to hand out hidden states and attention weights as well.
        attention_layers: Of an inspected chunk the layers whose attention weights are handed out;
            None is all of them.
        is_explained: Whether to explain its rows of logits, where the model can.
    """

    token_ids: Sequence[int]
    start: int
    block_ids: Sequence[int]
    logits: LogitsWanted = LogitsWanted.LAST
    is_inspected: bool = False
    attention_layers: Sequence[int] | None = None
    is_explained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedChunk:
    """The inside of the network for one chunk, in f32 on the executor's device.

    Attributes:
        hidden_states: Tensor [L + 1, T, C]: the embedding, what each layer but the last gives, and
            what the final norm gives.
        attention: Weights [L, H, T, S] of the wanted layers; each of the last dimension adds up to
            1.
    """

    hidden_states: Tensor
    attention: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedStep:
    """What one step gives.

    Attributes:
        logits_RV: The rows that were asked for, chunk by chunk, in f32 on the executor's device.
        rows: For each chunk, which rows are its own; empty where none were asked for.
        inspected: By the chunk's place in the step.
        explanations: By the row of logits; only n-gram models have any.
    """

    logits_RV: Tensor
    rows: Sequence[slice]
    inspected: Mapping[int, InspectedChunk]
    explanations: Mapping[int, Explain] = field(default_factory=dict[int, Explain])


class NotDeterministicError(ValueError):
    """Deterministic mode was asked for where a row's bits depend on its neighbours."""


class Network(Protocol):
    """What is asked about a network besides what its steps give."""

    @property
    def config(self) -> ModelConfig:
        """Its shape."""
        ...

    def embedding_rows(self, first: int, last: int) -> Tensor:
        """Vectors [last - first, C] of consecutive token ids, as the network reads them."""
        ...


class Executor(Protocol):
    """Computes chunks of sequences and keeps their keys and values in blocks."""

    @property
    def name(self) -> str:
        """Word for settings and fingerprints."""
        ...

    @property
    def network(self) -> Network | None:
        """The network that computes the logits; None where it is something else."""
        ...

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache, numbered from 0."""
        ...

    @property
    def block_tokens(self) -> int:
        """Tokens of a block."""
        ...

    @property
    def kv_cache_bytes(self) -> int:
        """Memory of the cache."""
        ...

    @property
    def is_deterministic(self) -> bool:
        """Whether a row's bits depend on its own sequence only, whatever else is in the step."""
        ...

    @property
    def has_fixed_steps(self) -> bool:
        """Whether the clock must have no say in how much a step computes.

        True where a row's bits were found to be the same by trial; an executor that cannot give
        others, however a text is cut, leaves the size of steps to measured times.
        """
        ...

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """Compute some chunks, at most one of each sequence, in one step."""
        ...

    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        """Forget what some blocks hold, NaN included."""
        ...
