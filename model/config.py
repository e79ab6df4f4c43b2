"""The numbers that define one Llama-shaped network, and their Hugging Face spelling.

Torch-free: the serving front reads it too. Anything in a ``config.json`` that would change the
computed numbers and is not implemented is refused by key and value, never ignored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

__all__ = ["ConfigError", "ModelConfig"]


class ConfigError(ValueError):
    """A model configuration is incomplete, contradictory or asks for what is not implemented."""


# Keys whose other values would change the numbers, with the only values that are implemented.
_ONLY_VALUES: Mapping[str, tuple[object, ...]] = {
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "rope_scaling": (None, {"type": "default"}, {"rope_type": "default"}),
    "sliding_window": (None,),
    "use_sliding_window": (False, None),
    "partial_rotary_factor": (1, None),
    "quantization_config": (None,),
    "final_logit_softcapping": (None,),
    "attn_logit_softcapping": (None,),
}
_ARCHITECTURE = "LlamaForCausalLM"

# The rotary tables hold a row for every position: a configuration alone must not fill the memory.
_MAX_POSITIONS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Shape of a transformer: RMSNorm, rotary positions, SwiGLU, grouped-query attention, no bias.

    Attributes:
        vocab_size: Rows of the embedding, at least the tokenizer's vocabulary.
        hidden_size: Width of the residual stream.
        intermediate_size: Width of the SwiGLU layer.
        num_hidden_layers: Number of blocks.
        num_attention_heads: Query heads.
        num_key_value_heads: Key and value heads; divides ``num_attention_heads``.
        head_dim: Width of one head; even, because rotary positions turn pairs.
        max_position_embeddings: Longest context, in tokens; at most 2^20.
        rope_theta: Base of the rotary frequencies (Su et al. 2021).
        rms_norm_eps: Added to the mean square before the root (Zhang and Sennrich 2019).
        tie_word_embeddings: Whether the output matrix is the embedding.
        bos_token_id: Token that starts a text, None where the model has none.
        eos_token_ids: Tokens that end a text; empty where the model has none.

    Raises:
        ConfigError: A number is out of its range or contradicts another; the message names both.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "max_position_embeddings",
        ):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_position_embeddings > _MAX_POSITIONS:
            raise ConfigError(
                f"max_position_embeddings must be at most {_MAX_POSITIONS}, "
                f"got {self.max_position_embeddings}"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_key_value_heads must divide num_attention_heads "
                f"({self.num_attention_heads}), got {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ConfigError(f"head_dim must be even, got {self.head_dim}")
        for name in ("rope_theta", "rms_norm_eps"):
            # Written so that NaN fails too.
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be finite and above 0, got {getattr(self, name)}")
        for token_id in (self.bos_token_id, *self.eos_token_ids):
            if token_id is not None and not 0 <= token_id < self.vocab_size:
                raise ConfigError(
                    f"bos_token_id and eos_token_id must lie in 0..{self.vocab_size - 1} "
                    f"(vocab_size {self.vocab_size}), got {token_id}"
                )

    @property
    def num_parameters(self) -> int:
        """Number of trained values; a tied output matrix counts once."""
        attention = self.hidden_size * self.head_dim
        attention *= 2 * self.num_attention_heads + 2 * self.num_key_value_heads
        block = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = (1 if self.tie_word_embeddings else 2) * self.vocab_size * self.hidden_size
        return embeddings + self.num_hidden_layers * block + self.hidden_size

    @staticmethod
    def from_dict(values: Mapping[str, object]) -> "ModelConfig":
        """Read the content of a Hugging Face ``config.json`` of the Llama kind.

        Raises:
            ConfigError: A key is missing, has the wrong type, or asks for something that would
                change the numbers and is not implemented; the message names key and value.
        """
        if values.get("model_type") is None:
            raise ConfigError("config key model_type is missing, it must be 'llama'")
        for key, allowed in _ONLY_VALUES.items():
            if key in values and values[key] not in allowed:
                raise ConfigError(f"config key {key}={values[key]!r} is not supported")
        architectures = values.get("architectures") or [_ARCHITECTURE]
        if not isinstance(architectures, list) or _ARCHITECTURE not in architectures:
            raise ConfigError(
                f"config key architectures={architectures!r} is not supported, "
                f"only {_ARCHITECTURE} is"
            )
        hidden_size = _integer(values, "hidden_size")
        num_heads = _integer(values, "num_attention_heads")
        head_dim = values.get("head_dim")
        if head_dim is None and num_heads > 0 and hidden_size % num_heads:
            raise ConfigError(
                f"num_attention_heads must divide hidden_size ({hidden_size}), got {num_heads}"
            )
        return ModelConfig(
            vocab_size=_integer(values, "vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=_integer(values, "intermediate_size"),
            num_hidden_layers=_integer(values, "num_hidden_layers"),
            num_attention_heads=num_heads,
            num_key_value_heads=_integer(values, "num_key_value_heads", num_heads),
            head_dim=(
                hidden_size // max(num_heads, 1)
                if head_dim is None
                else _integer(values, "head_dim")
            ),
            max_position_embeddings=_integer(values, "max_position_embeddings"),
            rope_theta=_rope_theta(values),
            rms_norm_eps=_number(values, "rms_norm_eps", 1e-6),
            # Hugging Face's own default for this key is false.
            tie_word_embeddings=_boolean(values, "tie_word_embeddings", default=False),
            bos_token_id=_single_token_id(values, "bos_token_id"),
            eos_token_ids=_token_ids(values, "eos_token_id"),
        )

    def to_dict(self, *, dtype: str = "float32") -> dict[str, object]:
        """Content of the ``config.json`` of a Hugging Face ``LlamaForCausalLM`` folder."""
        eos = self.eos_token_ids
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_position_embeddings,
            "rope_theta": self.rope_theta,
            "rope_scaling": None,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos[0] if len(eos) == 1 else (list(eos) or None),
            "pad_token_id": None,
            # Both spellings: transformers 5 writes "dtype", its predecessors read "torch_dtype".
            "dtype": dtype,
            "torch_dtype": dtype,
            "use_cache": True,
        }


def _integer(values: Mapping[str, object], key: str, default: int | None = None) -> int:
    value = values.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise ConfigError(f"config key {key} is missing")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"config key {key} must be an integer, got {value!r}")
    return value


def _number(values: Mapping[str, object], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"config key {key} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"config key {key} must be a number below 1e308") from None


def _boolean(values: Mapping[str, object], key: str, *, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"config key {key} must be true or false, got {value!r}")
    return value


def _single_token_id(values: Mapping[str, object], key: str) -> int | None:
    return None if values.get(key) is None else _integer(values, key)


def _token_ids(values: Mapping[str, object], key: str) -> tuple[int, ...]:
    """One id, a list of ids, or null for none."""
    value = values.get(key)
    if value is None:
        return ()
    ids: list[int] = []
    for candidate in cast("list[object]", value) if isinstance(value, list) else [value]:
        if isinstance(candidate, bool) or not isinstance(candidate, int):
            raise ConfigError(f"config key {key} must hold token ids, got {value!r}")
        ids.append(candidate)
    return tuple(ids)


def _rope_theta(values: Mapping[str, object]) -> float:
    """The rotary base in either generation of keys: top level, or inside rope_parameters."""
    at_top = _number(values, "rope_theta", 10000.0)
    parameters = values.get("rope_parameters")
    if parameters is None:
        return at_top
    if not isinstance(parameters, Mapping):
        raise ConfigError(f"config key rope_parameters must be an object, got {parameters!r}")
    named = cast("Mapping[str, object]", parameters)
    # Every other key belongs to a kind of scaling.
    implemented = named.keys() <= {"rope_type", "rope_theta"}
    if not implemented or named.get("rope_type", "default") != "default":
        raise ConfigError(f"config key rope_parameters={dict(named)!r} is not supported")
    inside = _number(named, "rope_theta", at_top)
    if "rope_theta" in values and inside != at_top:
        raise ConfigError(
            f"config key rope_theta={at_top} contradicts rope_parameters={dict(named)!r}"
        )
    return inside
