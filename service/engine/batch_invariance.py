"""Whether a token's numbers are the same bits in any batch, found out by trying.

Matrix libraries choose their kernels by the number of rows. Where that changes a row's bits
depends on the processor, the number type, the shapes and the version of the library, so it is
tried with the model at hand when it is loaded.
"""

from collections.abc import Sequence
from dataclasses import replace

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
_NEIGHBOURS = ((), (1,), (1, 1, 1, 1), (30,), (64, 64))
# All layers have the same shapes.
_NUM_LAYERS = 2


@torch.inference_mode()
def is_batch_invariant(model: Transformer, *, row_multiple: int) -> bool:
    """Whether a text computed in pieces beside others has the bits of the text computed alone.

    Args:
        model: On its device, in evaluation mode.
        row_multiple: Batches are filled up to a multiple of this.
    """
    model = _shortened(model)
    num_tokens = min(_NUM_TOKENS, model.config.max_position_embeddings)
    vocabulary = model.config.vocab_size
    token_ids = [(17 * place * place + 5) % vocabulary for place in range(num_tokens)]
    expected_TV = _compute(model, [token_ids], [0], None, row_multiple=row_multiple)
    num_blocks = -(-num_tokens // _BLOCK_TOKENS)
    cache = _new_cache(model, num_blocks * (1 + max(len(sizes) for sizes in _NEIGHBOURS)))
    start = 0
    # All pieces but the first are single tokens.
    first_end = max(1, num_tokens - len(_NEIGHBOURS) + 1)
    for number, sizes in enumerate(_NEIGHBOURS):
        end = min(first_end + number, num_tokens)
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


def _shortened(model: Transformer) -> Transformer:
    """The first layers of a model, with its own weights."""
    num_layers = min(_NUM_LAYERS, model.config.num_hidden_layers)
    with torch.device("meta"):
        shortened = Transformer(replace(model.config, num_hidden_layers=num_layers)).eval()
    shortened.model.embed_tokens = model.model.embed_tokens
    shortened.model.layers = model.model.layers[:num_layers]
    shortened.model.norm = model.model.norm
    shortened.lm_head = model.lm_head
    shortened.cos_PD, shortened.sin_PD = model.cos_PD, model.sin_PD
    return shortened


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
