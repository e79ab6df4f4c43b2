"""Finds n-grams in the trie of a stored n-gram model: many at once, by binary search.

It knows tokens and nodes; what counts and probabilities the nodes have is the model's business.
"""

import numpy as np
from numpy.typing import NDArray

from model.ngram_tables import NgramTables

NONE = -1  # no such node, no such context


class NgramTrie:
    """The nodes (n-grams) of a model and the ranks of its contexts (nodes with children)."""

    def __init__(self, tables: NgramTables) -> None:
        self._tables = tables
        firsts = np.flatnonzero(np.unpackbits(tables.first_children, bitorder="little"))
        self._child_starts = np.append(firsts, tables.tokens.size)
        contexts_by_byte = np.bitwise_count(tables.has_children).astype(np.int64)
        self._contexts_before_byte = np.cumsum(contexts_by_byte) - contexts_by_byte

    @property
    def child_starts(self) -> NDArray[np.int64]:
        """Where each context's children begin among the n-grams from order 2; at last their end."""
        return self._child_starts

    def find(self, ngrams_NK: NDArray[np.int64]) -> NDArray[np.int64]:
        """Node of each n-gram, int64 [N]; NONE where the model holds it not."""
        nodes = ngrams_NK[:, 0]
        for column in range(1, ngrams_NK.shape[1]):
            ranks = self.context_ranks(nodes)
            known = np.flatnonzero(ranks != NONE)
            nodes = np.full(ranks.size, NONE)
            nodes[known] = self.children(ranks[known], ngrams_NK[known, column])
        return nodes

    def context_ranks(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place of each node among the contexts; NONE for no node or one without children."""
        num_inner = sum(self._tables.num_nodes_by_order[:-1])
        ranks = np.full(nodes.size, NONE)
        inner = np.flatnonzero((nodes != NONE) & (nodes < num_inner))
        byte, bit = nodes[inner] >> 3, nodes[inner] & 7
        marks = self._tables.has_children[byte].astype(np.int64)
        below = np.bitwise_count(marks & ((1 << bit) - 1))
        has_children = (marks >> bit) & 1 == 1
        ranks[inner[has_children]] = (self._contexts_before_byte[byte] + below)[has_children]
        return ranks

    def children(self, ranks: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Node of each context continued by its token, NONE where the model holds none.

        A binary search in the sorted children of all contexts at once.
        """
        stored = self._tables.tokens
        if ranks.size == 1:  # one token at a time, as in generation, has to be quick
            start, stop = self._child_starts[ranks[0] : ranks[0] + 2].tolist()
            token = int(tokens[0])
            place = start + int(np.searchsorted(stored[start:stop], token))
            is_held = place < stop and int(stored[place]) == token
            return np.array([place + self._tables.vocab_size if is_held else NONE])
        low, high = self._child_starts[ranks], self._child_starts[ranks + 1]
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
        return np.where(is_found, low + self._tables.vocab_size, NONE)
