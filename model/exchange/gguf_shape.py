"""The shape of a network in GGUF's words, read and written.

A GGUF architecture has a fixed list of keys; a key that is not known here is refused by name and
value, because it would mean another computation.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from model.artifact_error import ArtifactError
from model.config import ConfigError, ModelConfig
from model.exchange.gguf_file import GgufFile
from model.families import FAMILIES
from model.rotary import DEFAULT_THETA, Llama3Scaling

__all__ = [
    "ROTARY_DIVISORS",
    "architecture_of",
    "read_shape",
    "rotary_divisors",
    "shape_values",
]

# The tensor that says what rotary frequencies are divided by.
ROTARY_DIVISORS = "rope_freqs.weight"

# Families by GGUF's architecture; its "llama" is what files of Mistral say as well.
_MODEL_TYPES: Mapping[str, str] = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}

_READ_KEYS = frozenset(
    {
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
        "rope.freq_base",
        "rope.dimension_count",
        "vocab_size",
    }
)
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "rope.scaling.type": ("none",),
    "expert_count": (0,),
    "expert_used_count": (0,),
}
# The numbers that Llama 3.1 to 3.3 were published with; files hold their effect only.
_KNOWN_SCALINGS = tuple(
    Llama3Scaling(
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )
    for factor in (8.0, 32.0)
)


def architecture_of(config: ModelConfig) -> str:
    """GGUF's name of a network.

    Raises:
        ArtifactError: Files of this kind have no place for a part of it.
    """
    if config.qk_norm and config.attention_bias:
        raise ArtifactError(
            f"attention_bias=True with model_type={config.model_type!r} cannot be exported: "
            "GGUF has no place for these biases"
        )
    return _ARCHITECTURES[config.model_type]


def read_shape(file: GgufFile) -> ModelConfig:
    """The shape of a file's network, without token ids.

    Raises:
        ArtifactError: A key is missing or malformed, or asks for what is not implemented.
    """
    architecture = file.text("general.architecture")
    if architecture is None or architecture not in _MODEL_TYPES:
        supported = ", ".join(_MODEL_TYPES)
        raise file.refusal("general.architecture", f"is not supported, only {supported} are")
    for key, value in file.values.items():
        prefix, _, name = key.partition(".")
        if prefix != architecture or name in _READ_KEYS:
            continue
        if value not in _NEUTRAL.get(name, ()):
            raise file.refusal(key)
    model_type = _MODEL_TYPES[architecture]

    def size(name: str, default: int | None = None) -> int:
        value = file.integer(f"{architecture}.{name}")
        if value is None and default is None:
            raise file.missing(f"{architecture}.{name}")
        return default if value is None and default is not None else int(value or 0)

    heads = size("attention.head_count")
    hidden_size = size("embedding_length")
    head_dim = size("attention.key_length", hidden_size // max(1, heads))
    for name in ("attention.value_length", "rope.dimension_count"):
        if size(name, head_dim) != head_dim:
            raise file.refusal(f"{architecture}.{name}", f"must be the head width, {head_dim}")
    embedding = file.tensors.get("token_embd.weight")
    epsilon = file.number(f"{architecture}.attention.layer_norm_rms_epsilon")
    if embedding is None or epsilon is None:
        raise ArtifactError(f"{file.path}: the embedding or the norms' epsilon is missing")
    bias = FAMILIES[model_type].attention_bias
    try:
        config = ModelConfig(
            model_type=model_type,
            vocab_size=embedding.shape[0],
            hidden_size=hidden_size,
            intermediate_size=size("feed_forward_length"),
            num_hidden_layers=size("block_count"),
            num_attention_heads=heads,
            num_key_value_heads=size("attention.head_count_kv", heads),
            head_dim=head_dim,
            max_position_embeddings=size("context_length"),
            rope_theta=file.number(f"{architecture}.rope.freq_base") or DEFAULT_THETA,
            rms_norm_eps=epsilon,
            attention_bias="blk.0.attn_q.bias" in file.tensors if bias is None else bias,
            tie_word_embeddings="output.weight" not in file.tensors,
        )
        return replace(config, rope_scaling=_read_scaling(file, config))
    except ConfigError as error:
        raise ArtifactError(f"{file.path}: {error}") from error


def shape_values(config: ModelConfig) -> dict[str, int | float]:
    """GGUF's keys, without the architecture's name before them, and their values."""
    return {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": float(config.rope_theta),
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
    }


def rotary_divisors(config: ModelConfig, scaling: Llama3Scaling) -> list[float]:
    """What each frequency of a network is divided by."""
    width = config.head_dim
    return scaling.divisors(
        [config.rope_theta ** (-pair / width) for pair in range(0, width, 2)],
    )


def _read_scaling(file: GgufFile, config: ModelConfig) -> Llama3Scaling | None:
    tensor = file.tensors.get(ROTARY_DIVISORS)
    if tensor is None:
        return None
    found = tensor.values()
    for scaling in _KNOWN_SCALINGS:
        expected = np.array(rotary_divisors(config, scaling), dtype=np.float32)
        if found.shape == expected.shape and np.allclose(found, expected, rtol=1e-4):
            return scaling
    raise ArtifactError(
        f"{file.path}: tensor {ROTARY_DIVISORS} is not the scaling of Llama 3.1 to 3.3, "
        f"got values from {found.min():.6g} to {found.max():.6g}"
    )
