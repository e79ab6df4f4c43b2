"""The executor for NVIDIA GPUs: kernels over block tables, and steps recorded in advance.

A step of single tokens is one CUDA graph, which also draws the tokens of plain requests, several in
a row where the engine allows it; pieces of prompts are another; a step of a shape that was not
recorded is started kernel by kernel; what is inspected is the eager executor's.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from model.transformer import Transformer
from service.engine.cuda.kernels import Kernels
from service.engine.cuda.network import PackedNetwork
from service.engine.cuda.prompt_words import prompt_words
from service.engine.cuda.recorded_prompts import RecordedPrompts
from service.engine.cuda.recorded_step import RecordedStep, Recorder
from service.engine.cuda.unrecorded_step import compute_unrecorded
from service.engine.drawn_rows import DrawnRow
from service.engine.eager_executor import DEFAULT_BLOCK_TOKENS, EagerExecutor
from service.engine.executor import ChunkInput, ComputedStep, LogitsWanted, NotDeterministicError

__all__ = ["GraphExecutor"]

# Tokens of the recorded steps with pieces of prompts.
_PROMPT_TOKENS = (1024, 512, 256, 128, 64, 32)


class GraphExecutor:
    """A transformer with its cache, whose steps of single tokens are recorded in advance.

    Args:
        model: In evaluation mode, on its device.
        num_blocks: Blocks of the cache.
        max_rows: Most sequences of a step.
        context_tokens: Longest sequence.
        block_tokens: Tokens of a block; divides 64.
        deterministic: True is refused: products of other numbers of rows round differently.
        kernels: What computes between the matrix products.
        recorder: Makes a step repeatable.

    Attributes:
        max_steps_ahead: Most tokens of a row that ``draw_ahead`` draws.
        seconds_ahead: How long it may take.
        least_prompt_tokens: Tokens of prompts that take hardly longer than one.

    Raises:
        NotDeterministicError: ``deterministic`` is true.
    """

    name = "cuda-graphs"
    is_deterministic = False
    has_fixed_steps = False
    draws_beside_prompts = True
    least_prompt_seconds = 0.0
    max_steps_ahead = 16
    seconds_ahead = 0.012
    least_prompt_tokens = 256

    def __init__(
        self,
        model: Transformer,
        *,
        num_blocks: int,
        max_rows: int,
        context_tokens: int,
        block_tokens: int = DEFAULT_BLOCK_TOKENS,
        deterministic: bool | None = None,
        kernels: Kernels,
        recorder: Recorder,
    ) -> None:
        if deterministic:
            raise NotDeterministicError(
                "deterministic mode is not to be had with the executor cuda-graphs; "
                "the executor eager has it in f32"
            )
        self._eager = EagerExecutor(
            model, num_blocks=num_blocks, block_tokens=block_tokens, deterministic=False
        )
        self._model = model
        self._kernels = kernels
        self._network = PackedNetwork(model, kernels)
        self._drawing: RecordedStep | None = None
        self._context_tokens = min(context_tokens, model.config.max_position_embeddings)
        counts = _row_counts(max_rows)
        scratch = kernels.draw_scratch(
            counts[-1], model.config.vocab_size, device=model.output_weight.device
        )
        with torch.inference_mode():
            # The largest first: the others find room in what it has freed.
            self._recorded_prompts = [
                RecordedPrompts(
                    self._network,
                    kernels,
                    self._eager.kv_cache,
                    num_tokens=num_tokens,
                    context_tokens=self._context_tokens,
                    recorder=recorder,
                )
                for num_tokens in _PROMPT_TOKENS
            ]
            self._recorded = {
                num_rows: RecordedStep(
                    self._network,
                    kernels,
                    self._eager.kv_cache,
                    num_rows=num_rows,
                    context_tokens=self._context_tokens,
                    max_steps=self.max_steps_ahead,
                    scratch=scratch,
                    recorder=recorder,
                )
                for num_rows in reversed(counts)
            }

    @property
    def network(self) -> Transformer:
        """The network that computes the logits."""
        return self._model

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache, numbered from 0."""
        return self._eager.num_blocks

    @property
    def block_tokens(self) -> int:
        """Tokens of a block."""
        return self._eager.block_tokens

    @property
    def kv_cache_bytes(self) -> int:
        """Memory of the cache."""
        return self._eager.kv_cache_bytes

    @torch.inference_mode()
    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """Compute some chunks, at most one of each sequence, in one step.

        Raises:
            ValueError: A chunk does not fit its blocks or the model's context.
        """
        longest = max(chunk.start + len(chunk.token_ids) for chunk in chunks)
        if longest > self._context_tokens:
            raise ValueError(f"a row has at most {self._context_tokens} tokens, got {longest}")
        if any(chunk.is_inspected for chunk in chunks):
            return self._compute_inspected(chunks)
        recorded = self._recorded_for(chunks)
        if recorded is None:
            return self._compute_prompts(chunks)
        rows = [
            DrawnRow(
                token_id=chunk.token_ids[0],
                start=chunk.start,
                last=chunk.start,
                block_ids=chunk.block_ids,
            )
            for chunk in chunks
        ]
        return ComputedStep(
            logits_RV=recorded.logits(rows),
            rows=[slice(place, place + 1) for place in range(len(chunks))],
            inspected={},
        )

    @torch.inference_mode()
    def draw_ahead(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        """Compute and draw up to ``num_steps`` tokens of each row; step by step the drawn ids.

        An id of NOT_COMPUTED or FAILED of `drawn_rows.py` says why a row has none in that step.

        Raises:
            ValueError: A row does not fit its blocks or the model's context.
        """
        self._drawing = self._recorded[_first_at_least(len(rows), self._recorded)]
        return self._drawing.draw(rows, num_steps=num_steps)

    @torch.inference_mode()
    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        """Start some steps more for the rows of the last call, which go on where they are."""
        assert self._drawing is not None
        return self._drawing.draw_on(num_steps=num_steps)

    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        """Forget what some blocks hold, NaN included."""
        self._eager.clear_blocks(block_ids)

    def _compute_inspected(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """The eager executor's are the inspected chunks alone: the others stay what they are."""
        apart: dict[bool, list[int]] = {True: [], False: []}
        for place, chunk in enumerate(chunks):
            apart[chunk.is_inspected].append(place)
        steps = {True: self._eager.compute([chunks[place] for place in apart[True]])}
        if not apart[False]:
            return steps[True]
        steps[False] = self.compute([chunks[place] for place in apart[False]])
        pieces: list[Tensor] = [torch.empty(0)] * len(chunks)
        for is_inspected, places in apart.items():
            step = steps[is_inspected]
            for place, rows in zip(places, step.rows, strict=True):
                pieces[place] = step.logits_RV[rows]
        ends = list(accumulate(piece.shape[0] for piece in pieces))
        return ComputedStep(
            logits_RV=torch.cat(pieces),
            rows=[slice(start, end) for start, end in pairwise([0, *ends])],
            inspected={apart[True][place]: seen for place, seen in steps[True].inspected.items()},
        )

    def _compute_prompts(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        words = prompt_words(
            chunks,
            block_tokens=self.block_tokens,
            num_blocks=self.num_blocks,
            tile=self._kernels.TILE_QUERIES,
        )
        for recorded in reversed(self._recorded_prompts):
            if recorded.fits(words):
                return recorded.compute(words)
        return compute_unrecorded(self._network, self._kernels, self._eager.kv_cache, words)

    def _recorded_for(self, chunks: Sequence[ChunkInput]) -> RecordedStep | None:
        for chunk in chunks:
            if len(chunk.token_ids) != 1 or chunk.logits is LogitsWanted.NONE:
                return None
        if len(chunks) > max(self._recorded):
            return None
        return self._recorded[_first_at_least(len(chunks), self._recorded)]


def _row_counts(largest: int) -> list[int]:
    """Powers of two and what lies half-way between them, up to the first that is enough."""
    counts = sorted({1 << power for power in range(20)} | {3 << power for power in range(20)})
    return [count for count in counts if count < largest] + [_first_at_least(largest, counts)]


def _first_at_least(number: int, counts: Iterable[int]) -> int:
    return min(count for count in counts if count >= number)
