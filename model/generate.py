"""The naive generator: no cache, no batch. The specification that the serving engine is held to."""

from collections.abc import Collection, Iterator, Sequence

import torch

from model.transformer import Transformer

__all__ = ["generate"]

GREEDY_BELOW_TEMPERATURE = 1e-5


@torch.inference_mode()
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

    Args:
        model: In evaluation mode, on any device.
        prompt_ids: At least one id; what goes beyond the context drops out on the left.
        max_tokens: Ids to yield at most.
        temperature: Divides the logits; below 1e-5 the likeliest id (the lowest on a tie) is taken.
        top_k: Only the k likeliest ids (all that tie with the k-th) can be drawn; 0 is off.
        generator: Source of randomness, on the CPU.
        end_token_ids: Ids that end the text; the end token itself is yielded.
    """
    device = model.output_weight.device
    ids = list(prompt_ids)
    for _ in range(max_tokens):
        window = ids[-model.config.max_position_embeddings :]
        logits_V = model(torch.tensor([window], device=device))[0, -1].float().cpu()
        if temperature < GREEDY_BELOW_TEMPERATURE:
            next_id = int(logits_V.argmax())
        else:
            logits_V = logits_V / temperature
            if 0 < top_k < logits_V.numel():
                kth_largest = logits_V.topk(top_k).values[-1]
                logits_V = logits_V.masked_fill(logits_V < kth_largest, float("-inf"))
            probabilities_V = logits_V.softmax(dim=-1)
            next_id = int(torch.multinomial(probabilities_V, 1, generator=generator))
        ids.append(next_id)
        yield next_id
        if next_id in end_token_ids:
            return
