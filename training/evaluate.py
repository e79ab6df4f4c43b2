"""How well a model predicts a text: nats per token, perplexity, bits per byte.

Bits per byte does not depend on the tokenizer, so models of different vocabularies compare by it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.dataset import held_out_windows

__all__ = ["TextScore", "score_tokens", "surprise_bits"]

_TOKENS_AT_ONCE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScore:
    """Surprise of a text under a model.

    Attributes:
        num_tokens: Targets that were scored, end-of-text tokens included.
        nats_per_token: Mean cross-entropy.
        bits_per_byte: All surprise in bits over the text's UTF-8 bytes.
        perplexity: exp(nats_per_token).
    """

    num_tokens: int
    nats_per_token: float
    bits_per_byte: float
    perplexity: float


@torch.no_grad()
def score_tokens(
    logits: Callable[[Tensor], Tensor],
    tokens: NDArray[np.integer],
    *,
    num_bytes: int,
    context_length: int,
    first_id: int,
    device: torch.device,
    max_tokens: int = 0,
) -> TextScore:
    """Score a text in windows side by side: every token once, with up to a window of context.

    Args:
        logits: From ids [B, T] to logits [B, T, V], in evaluation mode.
        tokens: The text; documents end with end-of-text.
        num_bytes: Its UTF-8 bytes.
        context_length: Length of a window.
        first_id: What the first token follows: end-of-text.
        device: Where ``logits`` computes.
        max_tokens: About as many tokens, spread evenly; 0 takes all. Bits per byte then assumes
            the bytes per token of the whole.
    """
    windows, is_target = held_out_windows(
        tokens, context_length=context_length, first_id=first_id, max_tokens=max_tokens
    )
    total_nats = 0.0
    batch_size = max(1, _TOKENS_AT_ONCE // context_length)
    for start in range(0, len(windows), batch_size):
        batch = torch.from_numpy(windows[start : start + batch_size]).to(device)  # pyright: ignore[reportUnknownMemberType]
        mask = torch.from_numpy(is_target[start : start + batch_size]).to(device)  # pyright: ignore[reportUnknownMemberType]
        logits_BTV = logits(batch[:, :-1]).float()
        nats = F.cross_entropy(logits_BTV.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
        total_nats += float((nats.double() * mask.flatten()).sum())
    num_scored = int(is_target.sum())
    nats_per_token = total_nats / num_scored
    bytes_scored = num_bytes * num_scored / tokens.size
    return TextScore(
        num_tokens=num_scored,
        nats_per_token=nats_per_token,
        bits_per_byte=total_nats / math.log(2) / bytes_scored,
        perplexity=math.exp(min(nats_per_token, 700.0)),
    )


@torch.no_grad()
def surprise_bits(
    logits: Callable[[Tensor], Tensor], ids: list[int], *, first_id: int, device: torch.device
) -> list[float]:
    """Surprise of each token of a short text given those before it, in bits."""
    batch = torch.tensor([[first_id, *ids]], device=device)
    log_probabilities = logits(batch[:, :-1]).float().log_softmax(-1)
    picked = log_probabilities[0].gather(-1, batch[0, 1:, None]).squeeze(-1)
    return [float(-value / math.log(2)) for value in picked]
