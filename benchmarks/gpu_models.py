"""Networks of the shapes that the results name, with random weights drawn on the GPU."""

import torch

from model.config import ModelConfig
from model.transformer import Transformer

__all__ = ["SHAPES", "random_model", "shape"]

# Width, layers, heads, key-value heads, inner width, vocabulary.
SHAPES = {
    "11 M": (288, 6, 6, 6, 768, 8192),
    "134 M": (768, 12, 12, 12, 2048, 32000),
    "1.1 B": (2048, 22, 32, 4, 5632, 32000),
    "6.7 B": (4096, 32, 32, 32, 11008, 32000),
}


def shape(name: str, *, context_tokens: int = 4096) -> ModelConfig:
    """The configuration of one of SHAPES, output not tied."""
    width, layers, heads, kv_heads, inner, vocabulary = SHAPES[name]
    return ModelConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=width // heads,
        max_position_embeddings=context_tokens,
        tie_word_embeddings=False,
    )


def random_model(name: str) -> Transformer:
    """In bf16 on the GPU, ready to be served."""
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        model = Transformer(shape(name))
        torch.set_default_dtype(torch.float32)
    generator = torch.Generator("cuda").manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.02, generator=generator)
    # The tables are made on the CPU, whatever the default device is.
    model.cos_PD, model.sin_PD = model.cos_PD.cuda(), model.sin_PD.cuda()
    return model.eval().requires_grad_(False)
