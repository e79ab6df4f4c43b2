"""The families of dense networks that are implemented, and what in their files is not.

All are one shape; they differ in biases, in norms of queries and keys, and in what a key that is
not there means. Torch-free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from model.config_values import ConfigError, integer, refusal

__all__ = ["FAMILIES", "Family", "family_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one ``model_type`` spells the shape, as in transformers.

    Attributes:
        architecture: The class that ``architectures`` must name.
        attention_bias: Whether queries, keys and values have one; None where the key
            ``attention_bias`` says it.
        has_output_bias: Whether the output of attention has a bias where these have one.
        has_qk_norm: Whether queries and keys are normalised, head by head.
        num_key_value_heads: Where the key is missing; None is as many as query heads.
        head_dim: Where the key is missing; None is the width shared among the query heads.
        sliding_window: Where the key is missing.
    """

    architecture: str
    attention_bias: bool | None
    has_output_bias: bool = True
    has_qk_norm: bool = False
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    sliding_window: int | None = None


FAMILIES: Mapping[str, Family] = {
    "llama": Family(architecture="LlamaForCausalLM", attention_bias=None),
    "mistral": Family(
        architecture="MistralForCausalLM",
        attention_bias=False,
        num_key_value_heads=8,
        sliding_window=4096,
    ),
    "qwen2": Family(
        architecture="Qwen2ForCausalLM",
        attention_bias=True,
        has_output_bias=False,
        num_key_value_heads=32,
    ),
    "qwen3": Family(
        architecture="Qwen3ForCausalLM",
        attention_bias=None,
        has_qk_norm=True,
        num_key_value_heads=32,
        head_dim=128,
    ),
}

_FULL = frozenset({"full_attention"})
# Keys whose other values would change the numbers, with the only values that are implemented.
_ONLY_VALUES: Mapping[str, tuple[object, ...]] = {
    "hidden_act": ("silu", "swish"),
    "mlp_bias": (False, None),
    "use_sliding_window": (False, None),
    "partial_rotary_factor": (1, None),
    "rope_interleaved": (False, None),
    "quantization_config": (None,),
    "compression_config": (None,),
    "final_logit_softcapping": (None,),
    "attn_logit_softcapping": (None,),
    "attention_multiplier": (None,),
    "embedding_multiplier": (1, None),
    "residual_multiplier": (1, None),
    "logits_scaling": (1, None),
    "logit_scale": (1, None),
    "query_pre_attn_scalar": (None,),
    "attn_temperature_tuning": (False, None),
    "attention_chunk_size": (None,),
    "no_rope_layers": (None,),
    "no_rope_layer_interval": (None,),
    "use_qk_norm": (False, None),
    "qk_layernorm": (False, None),
    "clip_qkv": (None,),
    "is_causal": (True, None),
    "use_bidirectional_attention": (False, None),
    "use_mrope": (False, None),
    "num_experts": (0, None),
    "num_local_experts": (0, None),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    # Code that comes with the folder could compute anything; it is never run.
    "auto_map": (None, {}),
}


def family_of(values: Mapping[str, object]) -> Family:
    """The family of a ``config.json``.

    Raises:
        ConfigError: The family, or another key that would change the numbers, is not implemented;
            the message names key and value.
    """
    model_type = values.get("model_type")
    if model_type is None:
        raise ConfigError(
            f"config key model_type is missing, it must be one of {', '.join(FAMILIES)}"
        )
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise refusal("model_type", model_type)
    for key, allowed in _ONLY_VALUES.items():
        if key in values and values[key] not in allowed:
            raise refusal(key, values[key])
    architectures = values.get("architectures") or [family.architecture]
    if not isinstance(architectures, list) or family.architecture not in architectures:
        raise ConfigError(
            f"config key architectures={architectures!r} is not supported, "
            f"only {family.architecture} is with model_type={model_type!r}"
        )
    if family.attention_bias is not None:
        bias = values.get("attention_bias")
        if bias is not None and bias != family.attention_bias:
            raise refusal("attention_bias", bias)
    _check_windows(values, family)
    return family


def _check_windows(values: Mapping[str, object], family: Family) -> None:
    """Refuse attention that does not reach back to the first token of the longest context."""
    kinds = values.get("layer_types")
    is_list = isinstance(kinds, list)
    if kinds is not None and not (is_list and {*map(str, cast("list[object]", kinds))} <= _FULL):
        raise refusal("layer_types", cast("object", kinds))
    window = values.get("sliding_window", family.sliding_window)
    if window is None or values.get("use_sliding_window") is False:
        return
    if isinstance(window, bool) or not isinstance(window, int):
        raise refusal("sliding_window", window)
    if window < integer(values, "max_position_embeddings"):
        # Where the key is missing, this is what its family takes it for.
        raise refusal("sliding_window", window)
