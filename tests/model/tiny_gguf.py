"""Small random models with vocabularies of every kind, and GGUF files with something changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, trainers

from model.config import ModelConfig
from model.exchange.byte_bpe import KINDS
from model.rotary import Llama3Scaling
from model.transformer import Transformer
from model.weights import save_weights

Arrays = dict[str, tuple[np.ndarray, GGMLQuantizationType]]

TEXT = "It's 12345 tokens,  isn't it?\n\n the theatre of the other caf\u00e9 \u6f22\u5b57 "
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
SHAPE: dict[str, object] = {
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": [0, 1],
}
LLAMA31 = Llama3Scaling(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192
)
FAMILIES: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("gpt-2", {}),
    "llama, tied": ("smollm", {"tie_word_embeddings": True}),
    "llama with biases": ("gpt-2", {"attention_bias": True}),
    "llama 3": ("llama-bpe", {"rope_scaling": LLAMA31.to_dict(), "rope_theta": 5e5}),
    "qwen2": ("qwen2", {"model_type": "qwen2", "tie_word_embeddings": True}),
    "qwen3": ("qwen2", {"model_type": "qwen3", "head_dim": 24}),
}


def write_tokenizer(directory: Path, kind: str, *, normalizer: object = None) -> None:
    """A small vocabulary that cuts as real ones of the kind do, with two control tokens."""
    cut = KINDS[kind]
    backend = Backend(models.BPE())
    specification = json.loads(backend.to_str())
    specification["normalizer"] = normalizer or cut.normalizer
    specification["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": list(cut.pre_tokenizers),
    }
    backend = Backend.from_str(json.dumps(specification))
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>", "<|im_end|>"], show_progress=False
    )
    backend.train_from_iterator([TEXT * 3], trainer=trainer)
    specification = json.loads(backend.to_str())
    specification["model"]["ignore_merges"] = cut.ignore_merges
    (directory / "tokenizer.json").write_text(json.dumps(specification))
    settings = {"eos_token": "<|endoftext|>", "chat_template": TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def write_model(directory: Path, case: str = "llama") -> ModelConfig:
    kind, changes = FAMILIES[case]
    config = ModelConfig.from_dict(
        SHAPE | {"attention_bias": None if "model_type" in changes else False} | changes
    )
    model = Transformer(config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    save_weights(model, directory)
    write_tokenizer(directory, kind)
    return config


def rewritten(
    source: Path,
    target: Path,
    *,
    values: dict[str, object] | None = None,
    tensors: Callable[[Arrays], object] | None = None,
) -> Path:
    """A copy of a GGUF file with other values (None takes one away) or tensors."""
    reader = GGUFReader(source)
    content: dict[str, object] = {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    } | (values or {})
    writer = GGUFWriter(target, str(content["general.architecture"]))
    for name, value in content.items():
        match value:
            case None:
                continue
            case bool():
                writer.add_bool(name, value)
            case int():
                writer.add_uint32(name, value)
            case float():
                writer.add_float32(name, value)
            case str():
                writer.add_string(name, value)
            case _:
                writer.add_array(name, cast("list[object]", value))
    arrays = {t.name: (np.array(t.data), t.tensor_type) for t in reader.tensors}
    if tensors is not None:
        tensors(arrays)
    for name, (array, kind) in arrays.items():
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
