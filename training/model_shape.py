"""From one dial to a network: the shape that a depth stands for."""

from model.config import ConfigError, ModelConfig
from training.config import ConfigurationError, ModelSettings

__all__ = ["model_config"]

HEAD_DIM = 64
WIDTH_PER_LAYER = 64


def model_config(
    settings: ModelSettings, *, depth: int, vocab_size: int, end_of_text_id: int
) -> ModelConfig:
    """Derive the network's shape; numbers set in ``settings`` win over derived ones.

    Width 64 x depth keeps the ratio of width to depth of the larger Llama and GPT models; 8/3 of
    the width gives SwiGLU the parameters of a plain layer of 4 widths (Shazeer 2020).

    Raises:
        ConfigurationError: The numbers contradict each other.
    """
    hidden_size = settings.hidden_size or WIDTH_PER_LAYER * depth
    num_heads = settings.num_attention_heads or max(1, hidden_size // HEAD_DIM)
    if hidden_size % num_heads:
        raise ConfigurationError(
            f"model.num_attention_heads must divide the width ({hidden_size}), got {num_heads}"
        )
    # A multiple of 32 keeps the products aligned on every processor.
    intermediate_size = settings.intermediate_size or max(32, round(hidden_size * 8 / 3 / 32) * 32)
    try:
        return ModelConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=depth,
            num_attention_heads=num_heads,
            num_key_value_heads=settings.num_key_value_heads or num_heads,
            head_dim=hidden_size // num_heads,
            max_position_embeddings=settings.context_length,
            rope_theta=settings.rope_theta,
            tie_word_embeddings=settings.tie_word_embeddings,
            bos_token_id=end_of_text_id,
            eos_token_ids=(end_of_text_id,),
        )
    except ConfigError as error:
        raise ConfigurationError(f"model.{error}") from error
