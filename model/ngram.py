"""Interpolated n-gram model: next-token probabilities from a memory-mapped trie.

The probability of a token after a context is the share of its discounted count there plus the
context's back-off mass times the probability after the context shortened by its oldest token; at
the bottom stands a distribution in which every token has some probability. Tokens only: it knows
no text. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.ngram_tables import NgramError, NgramTables, read_tables

NONE = -1  # no such node, no such context


@dataclass(frozen=True, slots=True)
class NgramStep:
    """What one context length contributes to the probability of a token.

    Attributes:
        order: Context tokens plus one.
        context_ids: The context, oldest token first; empty for order 1.
        is_known_context: Whether the model holds n-grams that continue this context. Where it
            does not, the probability is that of the order below.
        num_continuations: How many different tokens the model holds after this context.
        backoff: Share of the probability that the order below distributes (1 when unknown).
        discounted_count: The token's discounted count after this context, rounded to the stored
            levels; 0 where the token was not kept there.
        probability: Probability of the token with contexts up to this length.
    """

    order: int
    context_ids: tuple[int, ...]
    is_known_context: bool
    num_continuations: int
    backoff: float
    discounted_count: float
    probability: float


class NgramModel:
    """Scores and proposes next tokens; a document begins after the end-of-text token.

    Every context is read as the beginning of a document: the end-of-text token stands before it.
    Only the last `order - 1` tokens count, and nothing before an end-of-text token does.
    """

    def __init__(self, tables: NgramTables) -> None:
        self.tables = tables
        ends = np.cumsum(tables.num_children, dtype=np.int64)
        self._child_starts = np.concatenate(([0], ends)) + tables.vocab_size
        contexts_by_byte = np.bitwise_count(tables.has_children).astype(np.int64)
        self._contexts_before_byte = np.cumsum(contexts_by_byte) - contexts_by_byte

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens the model in `directory`/ngram/, arrays memory-mapped.

        Raises:
            NgramError: A file is missing, damaged, or does not fit the others.
        """
        return cls(read_tables(directory))

    @property
    def order(self) -> int:
        """Longest n-gram; the model looks at most order - 1 tokens back."""
        return self.tables.order

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return self.tables.vocab_size

    @property
    def num_ngrams(self) -> int:
        """N-grams of all orders that the model holds."""
        return sum(self.tables.num_nodes_by_order)

    def probabilities(self, context_ids: Sequence[int]) -> NDArray[np.float64]:
        """Probability of each token after the context, float64 [vocab_size], sum 1.

        Raises:
            NgramError: A context id is outside the vocabulary.
        """
        probabilities = np.array(self.tables.unigrams, dtype=np.float64)
        for order, _, rank in self._contexts_upwards(context_ids):
            if rank != NONE:
                tokens, _, shares, backoff = self._continuations(order, rank)
                probabilities *= backoff
                probabilities[tokens] += shares
        return probabilities

    def log_probabilities(
        self, ids: ArrayLike, *, context_ids: Sequence[int] = ()
    ) -> NDArray[np.float64]:
        """Natural logarithm of the probability of each token given those before it.

        Args:
            ids: Token ids [T]; documents in it end with the end-of-text token.
            context_ids: What stands before the first id; empty for the start of a document.

        Raises:
            NgramError: An id is outside the vocabulary.
        """
        tables = self.tables
        before = self._history(context_ids)
        history = np.concatenate((before, self._checked(ids)))
        node = history  # of the n-gram that ends at each position; for order 1 the token itself
        probability = np.asarray(tables.unigrams)[history]
        for order in range(2, self.order + 1):
            rank = np.full(history.size, NONE)
            rank[1:] = self._context_ranks(node[:-1])
            known = np.flatnonzero(rank != NONE)
            rank = rank[known]
            child = self._find_children(rank, history[known])
            odds = tables.levels[1, order - 2][tables.backoffs[rank]]
            probability[known] *= odds / (1 + odds)
            found = child != NONE
            codes = tables.weights[child[found] - tables.vocab_size]
            weight = tables.levels[0, order - 2][codes]
            share = weight / self._weight_sums[rank[found]] / (1 + odds[found])
            probability[known[found]] += share
            node = np.full(history.size, NONE)
            node[known] = child
        return np.log(probability[before.size :])

    def explain(self, context_ids: Sequence[int], token_id: int) -> tuple[NgramStep, ...]:
        """How the probability of one token comes about, shortest context first.

        Raises:
            NgramError: An id is outside the vocabulary.
        """
        token = int(self._checked([token_id])[0])
        probability = float(self.tables.unigrams[token])
        steps = [NgramStep(1, (), True, self.vocab_size, 0.0, 0.0, probability)]
        for order, context, rank in self._contexts_upwards(context_ids):
            if rank == NONE:
                steps.append(NgramStep(order, context, False, 0, 1.0, 0.0, probability))
                continue
            tokens, weights, shares, backoff = self._continuations(order, rank)
            is_token = tokens == token
            probability = backoff * probability + float(shares[is_token].sum())
            count = float(weights[is_token].sum())
            steps.append(NgramStep(order, context, True, tokens.size, backoff, count, probability))
        return tuple(steps)

    def _history(self, context_ids: Sequence[int]) -> NDArray[np.int64]:
        """The tokens that matter: end of text, then the last order - 1 of the context."""
        context = self._checked(context_ids)
        kept = context[max(0, context.size - self.order + 1) :]
        return np.concatenate(([self.tables.end_of_text_id], kept))

    def _contexts_upwards(
        self, context_ids: Sequence[int]
    ) -> Iterator[tuple[int, tuple[int, ...], int]]:
        """Order, context and its rank (NONE: not held), for each context length from 1 up."""
        history = self._history(context_ids)
        for length in range(1, min(self.order - 1, history.size) + 1):
            context = history[history.size - length :]
            node = context[:1]
            for token in context[1:]:
                rank = self._context_ranks(node)
                node = rank if rank[0] == NONE else self._find_children(rank, token[None])
            yield length + 1, tuple(context.tolist()), int(self._context_ranks(node)[0])

    def _continuations(
        self, order: int, rank: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], float]:
        """Tokens held after a context, their discounted counts, their shares, the back-off mass."""
        tables = self.tables
        start, stop = (self._child_starts[rank : rank + 2] - tables.vocab_size).tolist()
        weights = tables.levels[0, order - 2][tables.weights[start:stop]]
        odds = float(tables.levels[1, order - 2][tables.backoffs[rank]])
        shares = weights / weights.sum() / (1 + odds)
        return tables.tokens[start:stop].astype(np.int64), weights, shares, odds / (1 + odds)

    @cached_property
    def _weight_sums(self) -> NDArray[np.float64]:
        """Sum of the discounted counts held after each context, float64 [contexts]."""
        tables = self.tables
        bounds = np.cumsum(tables.num_nodes_by_order) - tables.vocab_size
        weights = np.empty(tables.tokens.size)
        for index, (start, stop) in enumerate(pairwise(bounds.tolist())):
            weights[start:stop] = tables.levels[0, index][tables.weights[start:stop]]
        if not weights.size:
            return weights
        return np.add.reduceat(weights, self._child_starts[:-1] - tables.vocab_size)

    def _context_ranks(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place of each node among the contexts; NONE for no node or one without children."""
        num_inner = sum(self.tables.num_nodes_by_order[:-1])
        ranks = np.full(nodes.size, NONE)
        inner = np.flatnonzero((nodes != NONE) & (nodes < num_inner))
        byte, bit = nodes[inner] >> 3, nodes[inner] & 7
        marks = self.tables.has_children[byte].astype(np.int64)
        below = np.bitwise_count(marks & ((1 << bit) - 1))
        has_children = (marks >> bit) & 1 == 1
        ranks[inner[has_children]] = (self._contexts_before_byte[byte] + below)[has_children]
        return ranks

    def _find_children(
        self, ranks: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Node of each context continued by its token, NONE where the model holds none.

        A binary search in the sorted children of all contexts at once.
        """
        stored, offset = self.tables.tokens, self.tables.vocab_size
        low, high = self._child_starts[ranks] - offset, self._child_starts[ranks + 1] - offset
        end = high
        while (low < high).any():
            middle = (low + high) >> 1
            # Where low == high the answer stands, and middle may lie one past the last n-gram.
            is_left = stored[np.minimum(middle, stored.size - 1)] < tokens
            is_open = low < high
            low = np.where(is_open & is_left, middle + 1, low)
            high = np.where(is_open & ~is_left, middle, high)
        is_found = low < end
        is_found[is_found] = stored[low[is_found]] == tokens[is_found]
        return np.where(is_found, low + offset, NONE)

    def _checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        array = np.asarray(ids)
        if array.size == 0:
            return np.zeros(0, dtype=np.int64)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise NgramError("token ids must be one vector of whole numbers")
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= self.vocab_size:
            given = low if low < 0 else high
            raise NgramError(f"token id must be 0 to {self.vocab_size - 1}, given {given}")
        return array.astype(np.int64)
