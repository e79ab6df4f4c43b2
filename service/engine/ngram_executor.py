"""The n-gram model behind the interface of an executor: its cache is the text itself.

Blocks hold token ids, so prefixes are shared, requests put back and prompts cut into pieces as for
a network. Each row of logits is the logarithm of a whole distribution. Letters: R rows of logits,
V vocabulary, K tokens of the longest context.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from model.ngram import NgramModel
from model.ngram_explanation import explain
from model.ngram_trie import NONE
from service.engine.eager_executor import DEFAULT_BLOCK_TOKENS
from service.engine.executor import ChunkInput, ComputedStep, Explain, LogitsWanted
from service.engine.trace_messages import NgramLevel, NgramTrace

__all__ = ["NgramExecutor"]


class NgramExecutor:
    """An n-gram model with its cache.

    Every row is computed by itself, number by number, so its bits never depend on its neighbours.

    Args:
        model: The model.
        num_blocks: Blocks of the cache.
        block_tokens: Tokens of a block.
    """

    name = "ngram"
    network = None
    is_deterministic = True
    has_fixed_steps = True

    def __init__(
        self, model: NgramModel, *, num_blocks: int, block_tokens: int = DEFAULT_BLOCK_TOKENS
    ) -> None:
        self._model = model
        self._block_tokens = block_tokens
        self._ids = np.full(num_blocks * block_tokens, NONE)

    @property
    def num_blocks(self) -> int:
        """Blocks of the cache, numbered from 0."""
        return self._ids.size // self._block_tokens

    @property
    def block_tokens(self) -> int:
        """Tokens of a block."""
        return self._block_tokens

    @property
    def kv_cache_bytes(self) -> int:
        """Memory of the cache."""
        return self._ids.nbytes

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """Compute some chunks, at most one of each sequence, in one step.

        Raises:
            NgramError: A token id is outside the vocabulary.
            ValueError: A chunk is to be looked into, and there is nothing inside.
        """
        longest = self._model.order - 1
        contexts = [np.zeros((0, longest), dtype=np.int64)]
        rows: list[slice] = []
        explanations: dict[int, Explain] = {}
        num_rows = 0
        for chunk in chunks:
            if chunk.is_inspected:
                raise ValueError("an n-gram model has neither hidden states nor attention")
            end = chunk.start + len(chunk.token_ids)
            token_ids = self._model.checked(list(chunk.token_ids))
            self._ids[self._places(chunk, chunk.start, end)] = token_ids
            first = {
                LogitsWanted.NONE: end,
                LogitsWanted.LAST: end - 1,
                LogitsWanted.ALL: chunk.start,
            }[chunk.logits]
            contexts_NK = self._contexts(chunk, first, end)
            contexts.append(contexts_NK)
            rows.append(slice(num_rows, num_rows + len(contexts_NK)))
            if chunk.is_explained:
                for row, context_K in enumerate(contexts_NK, start=num_rows):
                    explanations[row] = partial(self._explain, context_K)
            num_rows += len(contexts_NK)
        probabilities_RV = self._model.distributions(np.concatenate(contexts))
        logits_RV = torch.from_numpy(np.log(probabilities_RV)).float()
        return ComputedStep(logits_RV=logits_RV, rows=rows, inspected={}, explanations=explanations)

    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        """Forget what some blocks hold."""
        self._ids.reshape(-1, self._block_tokens)[list(block_ids)] = NONE

    def _places(self, chunk: ChunkInput, start: int, end: int) -> NDArray[np.int64]:
        """Where the cache holds the tokens from one position to before another."""
        positions = np.arange(start, end)
        block_ids = np.asarray(chunk.block_ids, dtype=np.int64)[positions // self._block_tokens]
        return block_ids * self._block_tokens + positions % self._block_tokens

    def _contexts(self, chunk: ChunkInput, first: int, end: int) -> NDArray[np.int64]:
        """What stands before each position after ``first`` to ``end``, int64 [N, K].

        A text begins after the end-of-text token; before that one there is nothing.
        """
        longest = self._model.order - 1
        if longest == 0 or first == end:
            return np.zeros((end - first, longest), dtype=np.int64)
        earliest = first - longest + 1
        before = np.full(max(0, -earliest), NONE)
        before[-1:] = self._model.tables.end_of_text_id
        line = np.concatenate((before, self._ids[self._places(chunk, max(0, earliest), end)]))
        return np.lib.stride_tricks.sliding_window_view(line, longest)

    def _explain(self, context_K: NDArray[np.int64], token_id: int) -> NgramTrace:
        model = self._model
        window: list[int] = context_K[context_K != NONE].tolist()
        # The end-of-text token before a text is the model's own addition, and made again there.
        is_begin = len(window) < model.order - 1
        levels = explain(model, window[1:] if is_begin else window, token_id)
        return NgramTrace(
            order=model.order,
            window_ids=window,
            levels=[
                NgramLevel(
                    order=level.order,
                    context_ids=list(level.context_ids),
                    is_known_context=level.is_known_context,
                    num_continuations=level.num_continuations,
                    discounted_count=level.discounted_count,
                    discounted_total=level.discounted_total,
                    backoff=level.backoff,
                    probability=level.probability,
                )
                for level in levels
            ],
        )
