"""A tiny artifact folder, written without torch."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from model.artifact import expected_tensors
from model.config import ModelConfig

TinyModelWriter = Callable[[Path], ModelConfig]


@pytest.fixture
def write_tiny_model() -> TinyModelWriter:
    """Writes config.json, generation_config.json, tokenizer.json and model.safetensors."""
    return _write_tiny_model


def _write_tiny_model(directory: Path) -> ModelConfig:
    config = ModelConfig(
        vocab_size=12,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        max_position_embeddings=16,
    )
    directory.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    weights = {
        name: generator.standard_normal(shape).astype(np.float32)
        for name, shape in expected_tensors(config).items()
    }
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    tokenizer = {"model": {"type": "BPE", "vocab": {chr(97 + i): i for i in range(11)}}}
    files: dict[str, object] = {
        "config.json": config.to_dict(),
        "generation_config.json": {"temperature": 0.8},
        "tokenizer.json": tokenizer | {"added_tokens": [{"id": 11, "content": "<|endoftext|>"}]},
    }
    for name, value in files.items():
        (directory / name).write_text(json.dumps(value), "utf-8")
    return config
