"""The vector of a token, and the tokens whose vectors point most nearly the same way.

The vectors are the rows of the embedding, what the network reads of a token before it knows where
the token stands. Shape letters: V vocabulary, R rows of a slice, C hidden width.
"""

import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from service.engine.executor import Network
from service.engine.questions import TokenVector, TokenVectorQuestion
from service.engine.vector_bytes import packed

__all__ = ["TokenVectors"]

# Values of the embedding that are looked at without a pause: a few milliseconds.
MAX_SLICE_VALUES = 2**21


class TokenVectors:
    """One question about a token, answered slice by slice of the vocabulary.

    Every vector is compared, in f64; there is no index that could miss one.

    Args:
        question: What is wanted.
        network: The network.
    """

    def __init__(self, question: TokenVectorQuestion, network: Network) -> None:
        self._question = question
        self._network = network
        token_id = question.token_id
        self._vector_C = network.embedding_rows(token_id, token_id + 1)[0].double()
        self._norm = float(self._vector_C.square().sum().sqrt())

    def slices(self) -> Iterator[Tensor]:
        """Cosines with the vectors of consecutive tokens, from 0 on; -inf for a vector of 0."""
        if self._question.num_neighbours == 0 or self._norm == 0.0:
            return
        num_rows = max(1, MAX_SLICE_VALUES // self._vector_C.numel())
        for first in range(0, self._question.num_ids, num_rows):
            last = min(first + num_rows, self._question.num_ids)
            part_RC = self._network.embedding_rows(first, last).double()
            norms_R = part_RC.square().sum(1).sqrt()
            cosines_R = (part_RC @ self._vector_C) / (norms_R * self._norm)
            yield cosines_R.masked_fill_(norms_R == 0.0, -math.inf)

    def answer(self, slices: list[Tensor]) -> TokenVector:
        """The answer, once all slices are there."""
        neighbours: list[tuple[int, float]] = []
        if slices:
            # Equal vectors tie, whatever the last bits of their products in f64.
            cosines_V = torch.cat(slices).float().clamp_(max=1.0)
            if self._question.token_id < len(cosines_V):
                cosines_V[self._question.token_id] = -math.inf
            sorted_V, ids_V = cosines_V.sort(descending=True, stable=True)
            nearest = slice(self._question.num_neighbours)
            ids = cast("list[int]", ids_V[nearest].tolist())
            cosines = cast("list[float]", sorted_V[nearest].tolist())
            pairs = zip(ids, cosines, strict=True)
            neighbours = [(place, cosine) for place, cosine in pairs if cosine > -math.inf]
        return TokenVector(vector=packed(self._vector_C), norm=self._norm, neighbours=neighbours)
