"""Names and orders of weights: Hugging Face's on one side, GGUF's on the other.

Both store every matrix with its outputs as rows. GGUF's "llama" turns neighbouring pairs of a head
where Hugging Face turns its halves, so rows of queries and keys change places.
"""

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from model.artifact import expected_tensors
from model.config import ModelConfig

__all__ = ["gguf_names", "gguf_order", "hugging_face_order"]

Values = npt.NDArray[np.float32]

_OUTSIDE: Mapping[str, str] = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_INSIDE: Mapping[str, str] = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_TURNED = re.compile(r"\.self_attn\.([qk])_proj\.")


def gguf_names(config: ModelConfig) -> dict[str, str]:
    """GGUF's name of each tensor of a folder, by Hugging Face's."""
    return {name: _gguf_name(name) for name in expected_tensors(config)}


def hugging_face_order(
    values: Values, name: str, config: ModelConfig, *, architecture: str
) -> Values:
    """A tensor of a GGUF file as the folder stores it; ``name`` is the folder's."""
    heads = _turned_heads(name, config) if architecture == "llama" else 0
    if not heads:
        return values
    pairs = values.reshape(heads, config.head_dim // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(values.shape)


def gguf_order(values: Values, name: str, config: ModelConfig, *, architecture: str) -> Values:
    """A tensor of a folder as GGUF stores it; ``name`` is the folder's."""
    heads = _turned_heads(name, config) if architecture == "llama" else 0
    if not heads:
        return values
    halves = values.reshape(heads, 2, config.head_dim // 2, -1)
    return halves.swapaxes(1, 2).reshape(values.shape)


def _gguf_name(name: str) -> str:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    match = _LAYER.fullmatch(name)
    assert match, name
    return f"blk.{match[1]}.{_INSIDE[match[2]]}.{match[3]}"


def _turned_heads(name: str, config: ModelConfig) -> int:
    """Heads whose rows are in another order, 0 for every other tensor."""
    match = _TURNED.search(name)
    if match is None:
        return 0
    return config.num_attention_heads if match[1] == "q" else config.num_key_value_heads
