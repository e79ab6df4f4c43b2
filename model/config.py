"""The numbers that define one dense network of Llama's shape, and their Hugging Face spelling.

Torch-free: the serving front reads it too. Anything in a ``config.json`` that would change the
computed numbers and is not implemented is refused by key and value, never ignored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from model.config_values import ConfigError, boolean, integer, number, token_ids
from model.families import FAMILIES, Family, family_of
from model.rotary import DEFAULT_THETA, Llama3Scaling, read_rotary

__all__ = ["ConfigError", "ModelConfig"]

# The rotary tables hold a row for every position: a configuration alone must not fill the memory.
_MAX_POSITIONS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Shape of a transformer: RMSNorm, rotary positions, SwiGLU, grouped-query attention.

    Attributes:
        model_type: Family, one of ``FAMILIES``: whose names and peculiarities its files have.
        vocab_size: Rows of the embedding, at least the tokenizer's vocabulary.
        hidden_size: Width of the residual stream.
        intermediate_size: Width of the SwiGLU layer.
        num_hidden_layers: Number of blocks.
        num_attention_heads: Query heads.
        num_key_value_heads: Key and value heads; divides ``num_attention_heads``.
        head_dim: Width of one head; even, because rotary positions turn pairs.
        max_position_embeddings: Longest context, in tokens; at most 2^20.
        rope_theta: Base of the rotary frequencies (Su et al. 2021).
        rope_scaling: How these are stretched, None for not at all.
        rms_norm_eps: Added to the mean square before the root (Zhang and Sennrich 2019).
        attention_bias: Whether queries, keys and values have a bias; Qwen2's always have.
        tie_word_embeddings: Whether the output matrix is the embedding.
        bos_token_id: Token that starts a text, None where the model has none.
        eos_token_ids: Tokens that end a text; empty where the model has none.

    Raises:
        ConfigError: A number is out of its range or contradicts another; the message names both.
    """

    model_type: str = "llama"
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float = DEFAULT_THETA
    rope_scaling: Llama3Scaling | None = None
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.model_type not in FAMILIES:
            raise ConfigError(
                f"model_type must be one of {', '.join(FAMILIES)}, got {self.model_type!r}"
            )
        fixed_bias = FAMILIES[self.model_type].attention_bias
        if fixed_bias is not None and self.attention_bias != fixed_bias:
            raise ConfigError(
                f"attention_bias must be {fixed_bias} with model_type {self.model_type}, "
                f"got {self.attention_bias}"
            )
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
    def attention_output_bias(self) -> bool:
        """Whether the output of attention has a bias."""
        return self.attention_bias and FAMILIES[self.model_type].has_output_bias

    @property
    def qk_norm(self) -> bool:
        """Whether each head of queries and keys is normalised before it is turned."""
        return FAMILIES[self.model_type].has_qk_norm

    @property
    def num_parameters(self) -> int:
        """Number of trained values; a tied output matrix counts once."""
        query_width = self.num_attention_heads * self.head_dim
        key_value_width = self.num_key_value_heads * self.head_dim
        block = 2 * self.hidden_size * (query_width + key_value_width)
        block += self.attention_bias * (query_width + 2 * key_value_width)
        block += self.attention_output_bias * self.hidden_size + self.qk_norm * 2 * self.head_dim
        block += 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = (1 if self.tie_word_embeddings else 2) * self.vocab_size * self.hidden_size
        return embeddings + self.num_hidden_layers * block + self.hidden_size

    @staticmethod
    def from_dict(values: Mapping[str, object]) -> "ModelConfig":
        """Read the content of a Hugging Face ``config.json`` of one of the ``FAMILIES``.

        Raises:
            ConfigError: A key is missing, has the wrong type, or asks for something that would
                change the numbers and is not implemented; the message names key and value.
        """
        family = family_of(values)
        hidden_size = integer(values, "hidden_size")
        num_heads = integer(values, "num_attention_heads")
        rope_theta, rope_scaling = read_rotary(values)
        has_bias = family.attention_bias
        if has_bias is None:
            has_bias = values.get("attention_bias") is not None
            has_bias = has_bias and boolean(values, "attention_bias", default=False)
        return ModelConfig(
            model_type=str(values["model_type"]),
            vocab_size=integer(values, "vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=integer(values, "intermediate_size"),
            num_hidden_layers=integer(values, "num_hidden_layers"),
            num_attention_heads=num_heads,
            num_key_value_heads=_num_key_value_heads(values, family, num_heads),
            head_dim=_head_dim(values, family, hidden_size, num_heads),
            max_position_embeddings=integer(values, "max_position_embeddings"),
            rope_theta=rope_theta,
            rope_scaling=rope_scaling,
            rms_norm_eps=number(values, "rms_norm_eps", 1e-6),
            attention_bias=has_bias,
            # Hugging Face's own default for this key is false.
            tie_word_embeddings=boolean(values, "tie_word_embeddings", default=False),
            bos_token_id=_single_token_id(values, "bos_token_id"),
            eos_token_ids=token_ids(values, "eos_token_id"),
        )

    def to_dict(self, *, dtype: str = "float32") -> dict[str, object]:
        """Content of a Hugging Face ``config.json`` of the family."""
        eos = self.eos_token_ids
        scaling = None if self.rope_scaling is None else self.rope_scaling.to_dict()
        return {
            "architectures": [FAMILIES[self.model_type].architecture],
            "model_type": self.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_position_embeddings,
            "rope_theta": self.rope_theta,
            "rope_scaling": scaling,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            "hidden_act": "silu",
            "attention_bias": self.attention_bias,
            "mlp_bias": False,
            "sliding_window": None,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos[0] if len(eos) == 1 else (list(eos) or None),
            "pad_token_id": None,
            # Both spellings: transformers 5 writes "dtype", its predecessors read "torch_dtype".
            "dtype": dtype,
            "torch_dtype": dtype,
            "use_cache": True,
        }


def _single_token_id(values: Mapping[str, object], key: str) -> int | None:
    return None if values.get(key) is None else integer(values, key)


def _num_key_value_heads(values: Mapping[str, object], family: Family, num_heads: int) -> int:
    """Null is as many as query heads, a missing key what the family takes it for."""
    missing = "num_key_value_heads" not in values
    default = family.num_key_value_heads if missing else None
    return integer(values, "num_key_value_heads", default or num_heads)


def _head_dim(
    values: Mapping[str, object], family: Family, hidden_size: int, num_heads: int
) -> int:
    """The width of a head, where no key says it that of the hidden states shared out."""
    if family.head_dim is not None:
        return integer({"head_dim": family.head_dim} | dict(values), "head_dim")
    if values.get("head_dim") is not None:
        return integer(values, "head_dim")
    if num_heads > 0 and hidden_size % num_heads:
        raise ConfigError(
            f"num_attention_heads must divide hidden_size ({hidden_size}), got {num_heads}"
        )
    return hidden_size // max(num_heads, 1)
