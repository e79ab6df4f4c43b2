"""An executor without a network: logits are a function of the tokens read through the blocks.

Whoever reads a wrong block, or one that holds NaN even beyond the text, gets other tokens. Faults
are given by hand.
"""

import math
import random
from collections.abc import Callable, Sequence

import torch

from service.engine.executor import ChunkInput, ComputedStep, LogitsWanted

VOCABULARY = 23
_NAN = -1


class RememberingExecutor:
    """A cache of token ids.

    Attributes:
        before_compute: Called with the chunks of each step; what it raises is the step's fault.
        poisoned_ids: Prompt tokens that turn into NaN in the cache.
        num_steps: Calls of ``compute`` that did not fail.
    """

    name = "remembering"
    network = None
    is_deterministic = True
    has_fixed_steps = True
    kv_cache_bytes = 0

    def __init__(self, *, num_blocks: int, block_tokens: int = 4) -> None:
        self.num_blocks = num_blocks
        self.block_tokens = block_tokens
        self.before_compute: Callable[[Sequence[ChunkInput]], None] = lambda chunks: None
        self.poisoned_ids: set[int] = set()
        self.num_steps = 0
        self.memory = [[0] * block_tokens for _ in range(num_blocks)]

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """Write the new tokens, and make logits of everything that is read."""
        self.before_compute(chunks)
        self.num_steps += 1
        for chunk in chunks:
            for place, token_id in enumerate(chunk.token_ids, start=chunk.start):
                block = self.memory[chunk.block_ids[place // self.block_tokens]]
                written = _NAN if token_id in self.poisoned_ids else token_id
                block[place % self.block_tokens] = written
        logits: list[list[float]] = []
        rows: list[slice] = []
        for chunk in chunks:
            num_before = len(logits)
            end = chunk.start + len(chunk.token_ids)
            match chunk.logits:
                case LogitsWanted.NONE:
                    lengths = range(0)
                case LogitsWanted.LAST:
                    lengths = range(end, end + 1)
                case LogitsWanted.ALL:
                    lengths = range(chunk.start + 1, end + 1)
            logits += [self._row(chunk.block_ids, length) for length in lengths]
            rows.append(slice(num_before, len(logits)))
        logits_RV = torch.tensor(logits, dtype=torch.float32).reshape(len(logits), VOCABULARY)
        return ComputedStep(logits_RV=logits_RV, rows=rows, inspected={})

    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        """Forget what some blocks hold."""
        for block_id in block_ids:
            self.memory[block_id] = [0] * self.block_tokens

    def _row(self, block_ids: Sequence[int], length: int) -> list[float]:
        num_read = -(-length // self.block_tokens)
        read = [token for block_id in block_ids[:num_read] for token in self.memory[block_id]]
        # A masked product of whole blocks: zero times NaN is NaN.
        if _NAN in read:
            return [math.nan] * VOCABULARY
        chance = random.Random(repr(read[:length]))
        return [chance.gauss(0.0, 2.0) for _ in range(VOCABULARY)]
