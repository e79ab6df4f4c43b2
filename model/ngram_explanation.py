"""How an n-gram model comes to the probability of one token: what it holds, where it backs off.

A stored model holds no raw counts. It holds discounted ones, each rounded to one of at most 256
levels of its order, and that is what is told here. Tokens only. No torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model.ngram import NgramModel
from model.ngram_trie import NONE

__all__ = ["NgramStep", "explain"]


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
            levels; 0 where the token was not kept there, and for order 1, of which the model
            stores the probability itself.
        discounted_total: Sum of the discounted counts of all tokens held after this context; the
            token's own part of the probability is its share of them, times 1 - backoff.
        probability: Probability of the token with contexts up to this length.
    """

    order: int
    context_ids: tuple[int, ...]
    is_known_context: bool
    num_continuations: int
    backoff: float
    discounted_count: float
    discounted_total: float
    probability: float


def explain(model: NgramModel, context_ids: Sequence[int], token_id: int) -> tuple[NgramStep, ...]:
    """How the probability of one token after a context comes about, shortest context first.

    Raises:
        NgramError: An id is outside the vocabulary.
    """
    tables, trie = model.tables, model.trie
    token = model.checked([token_id])
    history = model.history(context_ids)
    probability = float(tables.unigrams[token_id])
    steps = [NgramStep(1, (), True, model.vocab_size, 0.0, 0.0, 0.0, probability)]
    for length in range(1, min(model.order - 1, history.size) + 1):
        context = history[history.size - length :]
        order, ids = length + 1, tuple(context.tolist())
        ranks = trie.context_ranks(trie.find(context[None, :]))
        if ranks[0] == NONE:
            steps.append(NgramStep(order, ids, False, 0, 1.0, 0.0, 0.0, probability))
            continue
        rank = int(ranks[0])
        num_continuations = int(trie.child_starts[rank + 1] - trie.child_starts[rank])
        odds = float(tables.levels[1, length - 1][tables.backoffs[rank]])
        total = float(model.weight_sums[rank])
        node = int(trie.children(ranks, token)[0])
        count = 0.0
        if node != NONE:
            count = float(tables.levels[0, length - 1][tables.weights[node - tables.vocab_size]])
        backoff = odds / (1 + odds)
        probability = backoff * probability + count / total / (1 + odds)
        steps.append(
            NgramStep(order, ids, True, num_continuations, backoff, count, total, probability)
        )
    return tuple(steps)
