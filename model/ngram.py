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
from model.ngram_trie import NONE, NgramTrie


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
        self.trie = NgramTrie(tables)

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
        before = self._history(context_ids)
        history = np.concatenate((before, self._checked(ids)))
        nodes = history  # of the n-gram that ends at each position; of order 1 the token itself
        probabilities = np.asarray(self.tables.unigrams)[history]
        for order in range(2, self.order + 1):
            contexts = np.append(NONE, nodes[:-1])
            probabilities, nodes = self.lengthen(contexts, history, probabilities, order=order)
        return np.log(probabilities[before.size :])

    def lengthen(
        self,
        contexts: NDArray[np.int64],
        tokens: NDArray[np.int64],
        below: NDArray[np.float64],
        *,
        order: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Probabilities of tokens after contexts, from those after contexts one token shorter.

        Args:
            contexts: int64 [n], nodes of order `order` - 1, NONE where the model has no such node.
            tokens: int64 [n], a token for each context.
            below: float64 [n], the tokens' probabilities after the shorter contexts.
            order: Order of the n-grams that context and token make.

        Returns:
            The probabilities, and the nodes of those n-grams (NONE where not held).
        """
        tables = self.tables
        probabilities = below.copy()
        nodes = np.full(contexts.size, NONE)
        ranks = self.trie.context_ranks(contexts)
        known = np.flatnonzero(ranks != NONE)
        ranks = ranks[known]
        nodes[known] = self.trie.children(ranks, tokens[known])
        odds = tables.levels[1, order - 2][tables.backoffs[ranks]]
        probabilities[known] *= odds / (1 + odds)
        is_held = nodes[known] != NONE
        held = known[is_held]
        codes = tables.weights[nodes[held] - tables.vocab_size]
        shares = tables.levels[0, order - 2][codes] / self._weight_sums[ranks[is_held]]
        probabilities[held] += shares / (1 + odds[is_held])
        return probabilities, nodes

    def backoffs(self, nodes: NDArray[np.int64], *, order: int) -> NDArray[np.float64]:
        """Mass that the order below distributes after each node of that order; 1 if not held."""
        if order == self.order:
            return np.ones(nodes.size)
        ranks = self.trie.context_ranks(nodes)
        odds = self.tables.levels[1, order - 1][self.tables.backoffs[np.maximum(ranks, 0)]]
        return np.where(ranks == NONE, 1.0, odds / (1 + odds))

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
            rank = self.trie.context_ranks(self.trie.find(context[None, :]))
            yield length + 1, tuple(context.tolist()), int(rank[0])

    def _continuations(
        self, order: int, rank: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], float]:
        """Tokens held after a context, their discounted counts, their shares, the back-off mass."""
        tables = self.tables
        start, stop = self.trie.child_starts[rank : rank + 2].tolist()
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
        return np.add.reduceat(weights, self.trie.child_starts[:-1])

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
