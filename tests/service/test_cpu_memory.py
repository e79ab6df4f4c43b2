"""Memory of the compiled kernels: what is planned is what is taken, and too much fails at once."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from model.config import ModelConfig
from model.transformer import Transformer
from model.weights import WeightsError, open_weights, save_weights
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.loading import load_cpu_executor
from service.engine.cpu.packed_network import NumberType
from tests.service.packed_models import network_shape, new_network, packed


def stored_network(folder: Path, shape: ModelConfig) -> Transformer:
    model = new_network(shape)
    (folder / "config.json").write_text(json.dumps(shape.to_dict(dtype="float32")))
    save_weights(model, folder, dtype=torch.float32, max_shard_bytes=1 << 24)
    return model


def load(folder: Path, dtype: str) -> CpuExecutor:
    return load_cpu_executor(
        open_weights(folder), dtype=dtype, num_threads=1, context_tokens=64, num_blocks=4
    )


def test_a_cache_that_no_machine_holds_is_refused_when_it_is_made() -> None:
    network = packed(new_network(network_shape()))
    with pytest.raises(MemoryError):
        CpuExecutor(network, num_blocks=2**31 - 1, cache_type=NumberType.F32)


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_a_weight_that_is_infinite_once_rounded_is_refused(tmp_path: Path, dtype: str) -> None:
    """H6: the largest numbers of f32 are none of bf16."""
    stored_network(tmp_path, network_shape(is_tied=False))
    file = tmp_path / "model.safetensors"
    tensors = load_tensors(file.read_bytes())
    tensors["model.embed_tokens.weight"][3, 4] = 3.4e38
    file.write_bytes(save(tensors, metadata={"format": "pt"}))
    with pytest.raises(WeightsError, match=r"embed_tokens\.weight .* not finite in bfloat16"):
        load(tmp_path, dtype)
    assert load(tmp_path, "f32").num_blocks == 4
