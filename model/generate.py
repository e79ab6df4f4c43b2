"""The naive generator: no cache, no batch. The specification that the serving engine is held to."""

import math
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from model.transformer import Transformer

__all__ = ["choose", "generate"]

GREEDY_BELOW_TEMPERATURE = 1e-5


def generate(
    model: Transformer,
    prompt_ids: Sequence[int],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    generator: torch.Generator | None = None,
    end_token_ids: Collection[int] = (),
) -> Iterator[int]:
    """Yield the next token ids, one after another, until an end token or ``max_tokens``.

    Text may grow beyond ``max_position_embeddings``: the model then sees that many of the last
    ids, the oldest of them at position 0, computed anew for every id.

    Args:
        model: In evaluation mode, on any device.
        prompt_ids: At least one id.
        max_tokens: Ids to yield at most.
        temperature: Divides the logits; below 1e-5 the likeliest id is taken, the lowest on a tie.
        top_k: Only the k likeliest ids can be drawn, the lower ids of a tie first; 0 is off, and
            so is a number beyond the vocabulary.
        generator: Source of randomness, on the CPU; None is torch's own.
        end_token_ids: Ids that end the text; the end token itself is yielded.

    Raises:
        ValueError: An argument is out of its range; raised by the call, not by the first id.
        ArithmeticError: The model's logits hold NaN or an infinite maximum.
    """
    if not prompt_ids:
        raise ValueError("prompt_ids must hold at least one id, got none")
    vocab_size = model.config.vocab_size
    for token_id in prompt_ids:
        if not 0 <= token_id < vocab_size:
            raise ValueError(f"prompt_ids must lie in 0..{vocab_size - 1}, got {token_id}")
    if max_tokens < 0:
        raise ValueError(f"max_tokens must be at least 0, got {max_tokens}")
    # Written so that NaN fails too.
    if not 0.0 <= temperature < math.inf:
        raise ValueError(f"temperature must be finite and at least 0, got {temperature}")
    if top_k < 0:
        raise ValueError(f"top_k must be at least 0, got {top_k}")
    assert not model.training, "dropout would disturb every logit"

    @torch.inference_mode()
    def next_ids() -> Iterator[int]:
        ids = list(prompt_ids)
        for _ in range(max_tokens):
            window = ids[-model.config.max_position_embeddings :]
            logits_V = model(torch.tensor([window], device=model.output_weight.device))[0, -1]
            ids.append(choose(logits_V, temperature, top_k, generator))
            yield ids[-1]
            if ids[-1] in end_token_ids:
                return

    return next_ids()


def choose(
    logits_V: Tensor, temperature: float, top_k: int, generator: torch.Generator | None
) -> int:
    """The id that one row of logits gives; arguments as ``generate``."""
    logits_V = logits_V.float().cpu()
    # The maximum of a row with a NaN is NaN.
    if not logits_V.max().isfinite():
        raise ArithmeticError("the model's logits hold NaN or have no finite maximum")
    # A stable sort leaves equal logits in the order of their ids.
    order_V = logits_V.sort(descending=True, stable=True).indices
    if temperature < GREEDY_BELOW_TEMPERATURE or top_k == 1:
        return int(order_V[0])
    if top_k:
        logits_V = logits_V.index_fill(0, order_V[top_k:], -math.inf)
    # The maximum goes first, so that a small temperature cannot overflow.
    probabilities_V = ((logits_V - logits_V.max()) / temperature).softmax(dim=-1)
    return int(torch.multinomial(probabilities_V, 1, generator=generator))
