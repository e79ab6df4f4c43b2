"""Whether a token's numbers are the same bits in any batch, found out by trying.

Matrix libraries choose their kernels by the number of rows. Where that changes a row's bits
depends on the processor, the number type, the shapes and the version of the library, so it is
measured with the model at hand when it is loaded.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.kv_cache import CacheRow, KVCache
from model.paged_attention import CachedBatch
from model.transformer import Transformer

__all__ = ["is_batch_invariant"]

# More than one tile of keys, so that sums over more than one are part of the trial.
_NUM_TOKENS = 70
_BLOCK_TOKENS = 16
# Steps of small, middling and large batches that end the same text.
_NEIGHBOURS = ((), (1,), (1, 1, 1, 1), (30,), (1, 1, 61), (64, 64, 1), (70, 70, 70))


@torch.inference_mode()
def is_batch_invariant(model: Transformer, *, row_multiple: int) -> bool:
    """Whether a text computed in pieces beside others has the bits of the text computed alone.

    Args:
        model: On its device, in evaluation mode.
        row_multiple: Batches are filled up to a multiple of this.
    """
    num_tokens = min(_NUM_TOKENS, model.config.max_position_embeddings)
    vocabulary = model.config.vocab_size
    token_ids = [(17 * place * place + 5) % vocabulary for place in range(num_tokens)]
    expected_TV = _compute(model, [token_ids], [0], None, row_multiple=row_multiple)
    num_blocks = -(-num_tokens // _BLOCK_TOKENS)
    cache = _new_cache(model, num_blocks * (1 + max(len(sizes) for sizes in _NEIGHBOURS)))
    start = 0
    left = len(_NEIGHBOURS)
    for sizes in _NEIGHBOURS:
        # The last pieces are single tokens, the first takes the rest.
        left -= 1
        end = num_tokens - left if num_tokens > left else min(start + 1, num_tokens)
        if end == start:
            break
        neighbours = [token_ids[: min(size, num_tokens)][::-1] for size in sizes]
        computed_TV = _compute(
            model,
            [token_ids[start:end], *neighbours],
            [start, *(0 for _ in neighbours)],
            cache,
            row_multiple=row_multiple,
        )
        if not torch.equal(computed_TV[: end - start], expected_TV[start:end]):
            return False
        start = end
    return True


def _new_cache(model: Transformer, num_blocks: int) -> KVCache:
    weight = model.output_weight
    return KVCache(
        model.config,
        num_blocks=num_blocks,
        block_tokens=_BLOCK_TOKENS,
        dtype=weight.dtype,
        device=weight.device,
    )


def _compute(
    model: Transformer,
    texts: Sequence[Sequence[int]],
    starts: Sequence[int],
    cache: KVCache | None,
    *,
    row_multiple: int,
) -> Tensor:
    """Logits of some pieces of texts, each in blocks of its own."""
    blocks_each = -(-min(_NUM_TOKENS, model.config.max_position_embeddings) // _BLOCK_TOKENS)
    cache = cache or _new_cache(model, blocks_each * len(texts))
    token_ids = [token_id for text in texts for token_id in text]
    num_tokens = len(token_ids)
    token_ids += [0] * (-num_tokens % row_multiple)
    batch = CachedBatch(
        cache,
        [
            CacheRow(
                block_ids=range(row * blocks_each, (row + 1) * blocks_each),
                start=start,
                num_new=len(text),
            )
            for row, (text, start) in enumerate(zip(texts, starts, strict=True))
        ],
        num_padded=len(token_ids),
        query_multiple=row_multiple,
    )
    return model(torch.tensor([token_ids], device=model.output_weight.device), cached=batch)[0]
