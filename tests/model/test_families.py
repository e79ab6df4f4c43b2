"""Every family against transformers: tiny random folders of both generations, both ways.

The number compared is the logits' largest difference in units of their own standard deviation.
"""

import json
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from model.artifact import read_artifact
from model.config import ModelConfig
from model.generate import generate
from model.kv_cache import CacheRow, KVCache
from model.paged_attention import CachedBatch
from model.transformer import Transformer
from model.weights import load_transformer, save_weights

TOLERANCE = 1e-5
SHAPE: dict[str, object] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.4,
    "bos_token_id": None,
    "eos_token_id": None,
}
# With heads this narrow one frequency stays, one is between, two are divided.
LLAMA3: dict[str, object] = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
CASES: dict[str, tuple[type[PreTrainedConfig], dict[str, object]]] = {
    "llama": (LlamaConfig, {}),
    "llama with biases": (LlamaConfig, {"attention_bias": True, "tie_word_embeddings": True}),
    "llama 3": (LlamaConfig, {"rope_parameters": LLAMA3}),
    "mistral": (MistralConfig, {"sliding_window": None, "head_dim": 16}),
    "qwen2": (Qwen2Config, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2, tied": (Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, {"head_dim": 24, "tie_word_embeddings": True}),
    "qwen3 with biases": (
        Qwen3Config,
        {"head_dim": 24, "attention_bias": True, "rope_parameters": LLAMA3},
    ),
}
IDS = torch.randint(0, 61, (2, 200), generator=torch.Generator().manual_seed(3))


def write_theirs(directory: Path, case: str, *, shard_size: str = "1GB") -> Tensor:
    """A random model of transformers, with biases and norms that matter; its logits."""
    config_class, changes = CASES[case]
    torch.manual_seed(5)
    config = config_class.from_dict(SHAPE | changes)
    model = cast("PreTrainedModel", AutoModelForCausalLM.from_config(config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                centre = 0.0 if name.endswith("bias") else 1.0
                parameter.copy_(centre + 0.3 * torch.randn(parameter.shape))
        model.save_pretrained(directory, max_shard_size=shard_size)
        return cast("Tensor", model(IDS)["logits"])


def write_older_keys(directory: Path) -> None:
    """The same configuration as writers before transformers 5 spell it."""
    path = directory / "config.json"
    config: dict[str, object] = json.loads(path.read_text())
    rotary = cast("dict[str, object]", config.pop("rope_parameters"))
    config["rope_theta"] = rotary.pop("rope_theta")
    config["rope_scaling"] = rotary if rotary["rope_type"] == "llama3" else None
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    path.write_text(json.dumps(config))


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.std())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("keys", ["of today", "older"])
def test_a_folder_of_transformers_computes_the_same_here(
    tmp_path: Path, case: str, keys: str
) -> None:
    expected = write_theirs(tmp_path, case, shard_size="12KB" if keys == "older" else "1GB")
    if keys == "older":
        write_older_keys(tmp_path)
        assert (tmp_path / "model.safetensors.index.json").exists()
    assert read_artifact(tmp_path).config.model_type == CASES[case][0].model_type
    ours = load_transformer(tmp_path)
    with torch.inference_mode():
        assert relative_difference(ours(IDS), expected) <= TOLERANCE
    assert ours.config.num_parameters == sum(p.numel() for p in ours.parameters())


@pytest.mark.parametrize("case", CASES)
def test_our_folder_computes_the_same_in_transformers(tmp_path: Path, case: str) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    expected = write_theirs(tmp_path / "theirs", case)
    save_weights(load_transformer(tmp_path / "theirs"), tmp_path / "ours")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert model.config.model_type == CASES[case][0].model_type
    with torch.inference_mode():
        assert relative_difference(cast("Tensor", model(IDS)["logits"]), expected) <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_cached_steps_compute_what_the_whole_text_does(tmp_path: Path, case: str) -> None:
    write_theirs(tmp_path, case)
    model = load_transformer(tmp_path)
    prompt = [int(token) for token in IDS[0, :40]]
    expected = list(generate(model, prompt, max_tokens=6, temperature=0.0))
    with torch.inference_mode():
        assert _cached_greedy(model, prompt, max_tokens=6) == expected


def _cached_greedy(model: Transformer, prompt: list[int], *, max_tokens: int) -> list[int]:
    cache = KVCache(model.config, num_blocks=4, block_tokens=16)
    ids, start = list(prompt), 0
    for _ in range(max_tokens):
        row = CacheRow(block_ids=[2, 0, 3, 1], start=start, num_new=len(ids) - start)
        logits = model(torch.tensor([ids[start:]]), cached=CachedBatch(cache, [row]))
        start = len(ids)
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_a_fresh_network_starts_without_biases() -> None:
    config = ModelConfig.from_dict(SHAPE | {"model_type": "qwen2", "initializer_range": None})
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(0))
    biases = [p for name, p in model.named_parameters() if name.endswith(".bias")]
    assert len(biases) == 9
    assert not any(bool(bias.any()) for bias in biases)
