"""CUDA graphs: a step of single tokens is recorded once for its shape and then repeated whole.

A small network spends most of such a step on starting its several hundred kernels one by one; a
graph starts them together. Any other step, with a piece of a prompt or an inspected row, is the
eager executor's, over the same cache. Shape letters: N rows, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.decode_batch import DecodeBatch
from model.kv_cache import CacheRow
from model.transformer import Transformer
from service.engine.eager_executor import DEFAULT_BLOCK_TOKENS, EagerExecutor
from service.engine.executor import ChunkInput, ComputedStep, LogitsWanted, NotDeterministicError

__all__ = ["GraphExecutor", "Recorder", "cuda_graph_recorder"]

# Keys are gathered in whole tiles of so many.
_TILE_TOKENS = 64
# Gathered keys of a recorded step, per key-value head; bounds the memory that recordings pin. A
# larger step is the eager executor's, which cuts it into parts.
_MAX_KEYS = 64 * 1024

Recorder = Callable[[Callable[[], None]], Callable[[], None]]


def cuda_graph_recorder() -> Recorder:
    """What records all that a function starts on the CUDA device, and starts it again as one."""
    # No two recordings run at once, so that all can work in the same memory.
    pool = torch.cuda.graph_pool_handle()

    def record(run: Callable[[], None]) -> Callable[[], None]:
        # What allocates or chooses at its first call must not do so in the recording.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            run()
        return graph.replay

    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """A step of one shape; ``repeat`` reads the batch and writes the logits."""

    batch: DecodeBatch
    logits_NV: Tensor
    repeat: Callable[[], None]


class GraphExecutor:
    """A transformer with its cache, whose steps of single tokens are recorded in advance.

    Args:
        model: In evaluation mode, on its device.
        num_blocks: Blocks of the cache, less one of its own for rows that a step does not use.
        max_rows: Most sequences of a step; one is recorded for each power of two up to it.
        context_tokens: Longest sequence; one is recorded for each power of two of tiles up to it.
        block_tokens: Tokens of a block; divides 64.
        deterministic: True is refused: a row's neighbours decide how it is padded.
        recorder: Makes a step repeatable.

    Raises:
        NotDeterministicError: ``deterministic`` is true.
    """

    name = "cuda-graphs"
    is_deterministic = False

    def __init__(
        self,
        model: Transformer,
        *,
        num_blocks: int,
        max_rows: int,
        context_tokens: int,
        block_tokens: int = DEFAULT_BLOCK_TOKENS,
        deterministic: bool | None = None,
        recorder: Recorder,
    ) -> None:
        if deterministic:
            raise NotDeterministicError(
                "deterministic mode is not to be had with the executor cuda-graphs; "
                "the executor eager has it in f32"
            )
        self._model = model
        self._eager = EagerExecutor(
            model, num_blocks=num_blocks + 1, block_tokens=block_tokens, deterministic=False
        )
        longest_context = model.config.max_position_embeddings
        self._recorded = {
            (num_rows, num_keys): self._record(num_rows, num_keys, recorder)
            # The largest first: the others find room in what it has freed.
            for num_rows in reversed(_powers_of_two(max_rows))
            for num_keys in reversed(_key_counts(min(context_tokens, longest_context)))
            if num_rows * num_keys <= _MAX_KEYS
        }

    @property
    def network(self) -> Transformer:
        """The network that computes the logits."""
        return self._model

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache, numbered from 0."""
        return self._eager.num_blocks - 1

    @property
    def block_tokens(self) -> int:
        """Tokens of a block."""
        return self._eager.block_tokens

    @property
    def kv_cache_bytes(self) -> int:
        """Memory of the cache."""
        return self._eager.kv_cache_bytes

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """Compute some chunks, at most one of each sequence, in one step.

        Raises:
            ValueError: A chunk does not fit its blocks or the model's context.
        """
        recorded = self._recorded_for(chunks)
        return self._eager.compute(chunks) if recorded is None else _repeat(recorded, chunks)

    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        """Forget what some blocks hold, NaN included."""
        self._eager.clear_blocks(block_ids)

    def _recorded_for(self, chunks: Sequence[ChunkInput]) -> _Recorded | None:
        if any(len(c.token_ids) != 1 or c.is_inspected for c in chunks):
            return None
        if any(chunk.logits is LogitsWanted.NONE for chunk in chunks):
            return None
        num_tiles = max(chunk.start // _TILE_TOKENS + 1 for chunk in chunks)
        key = (_power_of_two(len(chunks)), _power_of_two(num_tiles) * _TILE_TOKENS)
        return self._recorded.get(key)

    @torch.inference_mode()
    def _record(self, num_rows: int, num_keys: int, recorder: Recorder) -> _Recorded:
        longest = min(num_keys, self._model.config.max_position_embeddings)
        batch = DecodeBatch(self._eager.kv_cache, num_rows=num_rows, max_tokens=longest)
        batch.fill([], [])
        vocab_size, device = self._model.config.vocab_size, self._model.output_weight.device
        logits_NV = torch.zeros(num_rows, vocab_size, device=device)

        def run() -> None:
            hidden_NC = self._model.hidden_states(batch.token_ids_N[None], cached=batch)[0]
            logits_NV.copy_(self._model.logits(hidden_NC))

        return _Recorded(batch=batch, logits_NV=logits_NV, repeat=recorder(run))


@torch.inference_mode()
def _repeat(recorded: _Recorded, chunks: Sequence[ChunkInput]) -> ComputedStep:
    recorded.batch.fill(
        [chunk.token_ids[0] for chunk in chunks],
        [CacheRow(block_ids=chunk.block_ids, start=chunk.start, num_new=1) for chunk in chunks],
    )
    recorded.repeat()
    return ComputedStep(
        # A copy: the next step writes over the original.
        logits_RV=recorded.logits_NV[: len(chunks)].clone(),
        rows=[slice(place, place + 1) for place in range(len(chunks))],
        inspected={},
    )


def _power_of_two(number: int) -> int:
    """The smallest that is at least as large."""
    return 1 << (number - 1).bit_length()


def _powers_of_two(largest: int) -> list[int]:
    """All up to the smallest that is at least ``largest``."""
    return [1 << exponent for exponent in range((largest - 1).bit_length() + 1)]


def _key_counts(context_tokens: int) -> list[int]:
    num_tiles = -(-context_tokens // _TILE_TOKENS)
    return [tiles * _TILE_TOKENS for tiles in _powers_of_two(num_tiles)]
