"""From one dial to a network: the shape that a depth stands for."""

from dataclasses import replace

from model.config import ConfigError, ModelConfig
from training.config import ConfigurationError, ModelSettings, TrainingConfig

__all__ = ["fit_to_parent", "model_config"]

HEAD_DIM = 64
WIDTH_PER_LAYER = 64
DEFAULT_CONTEXT_LENGTH = 256


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


def fit_to_parent(config: TrainingConfig, parent: ModelConfig | None) -> TrainingConfig:
    """Fill in the context length, and refuse what contradicts the model to start from.

    Raises:
        ConfigurationError: The parent's shape or vocabulary is another one.
    """
    settings, default = config.model, ModelSettings()
    if parent is None:
        context_length = settings.context_length or DEFAULT_CONTEXT_LENGTH
        return replace(config, model=replace(settings, context_length=context_length))
    for name in (
        "depth",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "rope_theta",
        "tie_word_embeddings",
    ):
        theirs = getattr(parent, "num_hidden_layers" if name == "depth" else name)
        if getattr(settings, name) not in (getattr(default, name), theirs):
            raise ConfigurationError(
                f"model.{name} must be that of the model to start from ({theirs}), "
                f"got {getattr(settings, name)}"
            )
    if config.tokenizer.vocabulary_size not in (0, parent.vocab_size):
        raise ConfigurationError(
            f"tokenizer.vocabulary_size must be that of the model to start from "
            f"({parent.vocab_size}), got {config.tokenizer.vocabulary_size}"
        )
    longest = parent.max_position_embeddings
    if settings.context_length > longest:
        raise ConfigurationError(
            f"model.context_length must be at most that of the model to start from ({longest}), "
            f"got {settings.context_length}"
        )
    context_length = settings.context_length or min(DEFAULT_CONTEXT_LENGTH, longest)
    return replace(config, model=replace(settings, context_length=context_length))
