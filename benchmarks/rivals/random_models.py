"""Llama-shaped models with random weights, for measuring speed alone: S, M and L, any vocabulary.

    python benchmarks/rivals/random_models.py FOLDER S M

A folder NAME-bf16 is what the service loads. Its tokenizer knows the 256 bytes and numbered tokens
that no text contains, so that a vocabulary of any size costs nothing to make; the loads send ids.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import (
    save_file,  # pyright: ignore[reportUnknownVariableType]: its types name no parameters of PathLike
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

__all__ = ["SHAPES", "Shape", "make_folder"]

SEED = 1234
# What transformers initialises with.
DEVIATION = 0.02
END_OF_TEXT = "<|endoftext|>"
NUM_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a network of this kind is made of; heads are 64 wide, the output is the embedding."""

    vocabulary_size: int
    width: int
    inner_width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    context_tokens: int = 1024


SHAPES = {
    "S": Shape(
        vocabulary_size=8_192,
        width=384,
        inner_width=1_024,
        num_layers=6,
        num_heads=6,
        num_kv_heads=6,
    ),
    "M": Shape(
        vocabulary_size=32_000,
        width=768,
        inner_width=2_048,
        num_layers=12,
        num_heads=12,
        num_kv_heads=12,
    ),
    "L": Shape(
        vocabulary_size=32_000,
        width=1_280,
        inner_width=3_584,
        num_layers=24,
        num_heads=20,
        num_kv_heads=4,
        context_tokens=2_048,
    ),
}


def make_folder(folder: Path, shape: Shape) -> None:
    """Write config, weights in bf16 and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary_size,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner_width,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "max_position_embeddings": shape.context_tokens,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 0,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    _tokenizer(shape.vocabulary_size).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT})
    )
    save_file(_weights(shape), folder / "model.safetensors", metadata={"format": "pt"})


def _weights(shape: Shape) -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(SEED)
    kv_width = shape.num_kv_heads * (shape.width // shape.num_heads)
    # As in GPT-2: logits keep a sane spread however many layers add to them.
    residual = DEVIATION * (2 * shape.num_layers) ** -0.5

    def matrix(rows: int, columns: int, deviation: float = DEVIATION) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=drawn) * deviation).bfloat16()

    def ones() -> torch.Tensor:
        return torch.ones(shape.width, dtype=torch.bfloat16)

    weights = {"model.embed_tokens.weight": matrix(shape.vocabulary_size, shape.width)}
    for layer in range(shape.num_layers):
        head = f"model.layers.{layer}."
        weights |= {
            head + "input_layernorm.weight": ones(),
            head + "self_attn.q_proj.weight": matrix(shape.width, shape.width),
            head + "self_attn.k_proj.weight": matrix(kv_width, shape.width),
            head + "self_attn.v_proj.weight": matrix(kv_width, shape.width),
            head + "self_attn.o_proj.weight": matrix(shape.width, shape.width, residual),
            head + "post_attention_layernorm.weight": ones(),
            head + "mlp.gate_proj.weight": matrix(shape.inner_width, shape.width),
            head + "mlp.up_proj.weight": matrix(shape.inner_width, shape.width),
            head + "mlp.down_proj.weight": matrix(shape.width, shape.inner_width, residual),
        }
    return weights | {"model.norm.weight": ones()}


def _tokenizer(vocabulary_size: int) -> Tokenizer:
    names = [END_OF_TEXT, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    # One merge, since readers of other formats expect a list of them.
    names.append("th")
    names += [f"[{number}]" for number in range(vocabulary_size - len(names))]
    vocabulary = {name: number for number, name in enumerate(names[:vocabulary_size])}
    merges = [("t", "h")] if "th" in vocabulary else []
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def main(arguments: Sequence[str]) -> None:
    """Make the named shapes; `S:65536` is S with another vocabulary."""
    folder, *names = arguments
    for name in names:
        shape_name, _, size = name.partition(":")
        shape = SHAPES[shape_name]
        if size:
            shape = replace(shape, vocabulary_size=int(size))
        make_folder(Path(folder) / f"{name.replace(':', '-')}-bf16", shape)


if __name__ == "__main__":
    main(sys.argv[1:])
