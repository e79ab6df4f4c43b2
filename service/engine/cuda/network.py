"""The network on a GPU: the same numbers as `model/transformer.py` gives, in few large steps.

Products that read the same input are one product, and what lies between products is one kernel.
Shape letters: T tokens, C hidden width, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.kv_cache import KVCache
from model.transformer import Block, Transformer
from service.engine.cuda.kernels import Kernels
from service.engine.cuda.token_places import TokenPlaces

__all__ = ["Attend", "PackedNetwork"]

# Queries, keys and values of a layer's tokens, and its number, to what they attend to [T, H * D].
Attend = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    norm_C: Tensor
    qkv: Tensor
    output: Tensor
    second_norm_C: Tensor
    gate_and_up: Tensor
    down: Tensor


class PackedNetwork:
    """A transformer whose matrices are packed side by side.

    Args:
        model: In evaluation mode, on its device. Its own parameters become views of the packed
            ones, so that no weight is in memory twice and it can be used as before.
        kernels: What to compute with between the products.
    """

    def __init__(self, model: Transformer, kernels: Kernels) -> None:
        self._model = model
        self._kernels = kernels
        self._epsilon = model.config.rms_norm_eps
        self._layers = [_packed(block) for block in model.model.layers if isinstance(block, Block)]
        self._tables = (model.cos_PD.float(), model.sin_PD.float())

    def hidden_states(
        self, tokens_T: Tensor, places: TokenPlaces, kv_cache: KVCache, attend: Attend
    ) -> Tensor:
        """Normalised hidden states [T, C] of the last layer.

        Args:
            tokens_T: Ids.
            places: Where they stand.
            kv_cache: Gets their keys and values.
            attend: Called for each layer when these are there.
        """
        kernels, epsilon = self._kernels, self._epsilon
        x_TC = F.embedding(tokens_T, self._model.model.embed_tokens.weight)
        delta_TC: Tensor | None = None
        for number, layer in enumerate(self._layers):
            normed_TC = kernels.add_and_normalize(x_TC, delta_TC, layer.norm_C, epsilon=epsilon)
            qkv = F.linear(normed_TC, layer.qkv)
            keys_KPD, values_KPD = kv_cache.keys[number], kv_cache.values[number]
            kernels.rotate_and_store(qkv, self._tables, places, keys_KPD, values_KPD)
            delta_TC = F.linear(attend(qkv, number), layer.output)
            normed_TC = kernels.add_and_normalize(
                x_TC, delta_TC, layer.second_norm_C, epsilon=epsilon
            )
            delta_TC = F.linear(kernels.gate(F.linear(normed_TC, layer.gate_and_up)), layer.down)
        return kernels.add_and_normalize(
            x_TC, delta_TC, self._model.model.norm.weight, epsilon=epsilon
        )

    def next_logits(
        self, tokens_N: Tensor, places: TokenPlaces, kv_cache: KVCache, attend: Attend
    ) -> Tensor:
        """Logits [N, V] after single tokens of N rows; arguments as ``hidden_states``."""
        kernels, epsilon = self._kernels, self._epsilon
        if tokens_N.shape[0] > 1:
            return self.logits(self.hidden_states(tokens_N, places, kv_cache, attend))
        x_1C = F.embedding(tokens_N, self._model.model.embed_tokens.weight)
        for number, layer in enumerate(self._layers):
            qkv = kernels.normalize_and_multiply(x_1C, layer.norm_C, layer.qkv, epsilon=epsilon)
            keys_KPD, values_KPD = kv_cache.keys[number], kv_cache.values[number]
            kernels.rotate_and_store(qkv, self._tables, places, keys_KPD, values_KPD)
            kernels.multiply_and_add(attend(qkv, number), layer.output, x_1C)
            gated = kernels.normalize_and_gate(
                x_1C, layer.second_norm_C, layer.gate_and_up, epsilon=epsilon
            )
            kernels.multiply_and_add(gated, layer.down, x_1C)
        norm_C = self._model.model.norm.weight
        return kernels.normalize_and_multiply(
            x_1C, norm_C, self._model.output_weight, epsilon=epsilon
        )

    def logits(self, hidden_TC: Tensor) -> Tensor:
        """Logits [T, V] of normalised hidden states."""
        return F.linear(hidden_TC, self._model.output_weight)


def _packed(block: Block) -> _Layer:
    attention, feed_forward = block.self_attn, block.mlp
    return _Layer(
        norm_C=block.input_layernorm.weight,
        qkv=_side_by_side(attention.q_proj, attention.k_proj, attention.v_proj),
        output=attention.o_proj.weight,
        second_norm_C=block.post_attention_layernorm.weight,
        gate_and_up=_side_by_side(feed_forward.gate_proj, feed_forward.up_proj),
        down=feed_forward.down_proj.weight,
    )


@torch.no_grad()
def _side_by_side(*linears: nn.Linear) -> Tensor:
    """One matrix of all outputs; the modules' own weights become its parts."""
    packed = torch.cat([linear.weight for linear in linears])
    first = 0
    for linear in linears:
        end = first + linear.out_features
        linear.weight.data = packed[first:end]
        first = end
    return packed
