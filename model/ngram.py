"""Interpolated n-gram model: next-token probabilities from a memory-mapped trie.

The probability of a token after a context is the share of its discounted count there plus the
context's back-off mass times the probability after the context shortened by its oldest token; at
the bottom stands a distribution in which every token has some probability. Tokens only: it knows
no text. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.ngram_description import NgramError
from model.ngram_tables import NgramTables, read_tables
from model.ngram_trie import NONE, NgramTrie


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
        history = self.history(context_ids)
        window = history[max(0, history.size - self.order + 1) :]
        contexts_1K = np.full((1, self.order - 1), NONE)
        contexts_1K[0, self.order - 1 - window.size :] = window
        return self.distributions(contexts_1K)[0]

    def distributions(self, contexts_RK: NDArray[np.int64]) -> NDArray[np.float64]:
        """Probability of each token after each of some contexts; rows are independent.

        Args:
            contexts_RK: int64 [R, order - 1], token ids, the oldest first; NONE in front of a
                document's first end-of-text token, which stands before every text.

        Returns:
            float64 [R, vocab_size], each row's sum 1.
        """
        tables = self.tables
        num_rows, longest = contexts_RK.shape
        probabilities_RV = np.tile(np.asarray(tables.unigrams, dtype=np.float64), (num_rows, 1))
        for length in range(1, longest + 1):
            ranks = self.trie.context_ranks(self.trie.find(contexts_RK[:, longest - length :]))
            known = np.flatnonzero(ranks != NONE)
            ranks = ranks[known]
            odds = tables.levels[1, length - 1][tables.backoffs[ranks]]
            probabilities_RV[known] *= (odds / (1 + odds))[:, None]
            starts = self.trie.child_starts[ranks]
            num_children = self.trie.child_starts[ranks + 1] - starts
            ends = np.cumsum(num_children)
            offsets = np.repeat(starts - ends + num_children, num_children)
            places = np.arange(offsets.size) + offsets
            weights = tables.levels[0, length - 1][tables.weights[places]]
            sums = np.repeat(self.weight_sums[ranks] * (1 + odds), num_children)
            # A context holds each token once, so no place is added to twice.
            rows = np.repeat(known, num_children)
            probabilities_RV[rows, tables.tokens[places]] += weights / sums
        return probabilities_RV

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
        before = self.history(context_ids)
        history = np.concatenate((before, self.checked(ids)))
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
        shares = tables.levels[0, order - 2][codes] / self.weight_sums[ranks[is_held]]
        probabilities[held] += shares / (1 + odds[is_held])
        return probabilities, nodes

    def backoffs(self, nodes: NDArray[np.int64], *, order: int) -> NDArray[np.float64]:
        """Mass that the order below distributes after each node of that order; 1 if not held."""
        if order == self.order:
            return np.ones(nodes.size)
        ranks = self.trie.context_ranks(nodes)
        odds = self.tables.levels[1, order - 1][self.tables.backoffs[np.maximum(ranks, 0)]]
        return np.where(ranks == NONE, 1.0, odds / (1 + odds))

    def history(self, context_ids: Sequence[int]) -> NDArray[np.int64]:
        """The tokens that matter: end of text, then the last order - 1 of the context.

        Raises:
            NgramError: An id is outside the vocabulary.
        """
        context = self.checked(context_ids)
        kept = context[max(0, context.size - self.order + 1) :]
        return np.concatenate(([self.tables.end_of_text_id], kept))

    @cached_property
    def weight_sums(self) -> NDArray[np.float64]:
        """Sum of the discounted counts held after each context, float64 [contexts]."""
        tables = self.tables
        bounds = np.cumsum(tables.num_nodes_by_order) - tables.vocab_size
        weights = np.empty(tables.tokens.size)
        for index, (start, stop) in enumerate(pairwise(bounds.tolist())):
            weights[start:stop] = tables.levels[0, index][tables.weights[start:stop]]
        if not weights.size:
            return weights
        return np.add.reduceat(weights, self.trie.child_starts[:-1])

    def checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Token ids as a vector.

        Raises:
            NgramError: They are none, or one is outside the vocabulary.
        """
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
