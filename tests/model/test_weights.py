"""Weights on disk: round trips in every type, shards, memory, and what cannot be saved."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import (
    load_file,  # pyright: ignore[reportUnknownVariableType]: paths without their parameters
)

from model.config import ModelConfig
from model.transformer import Transformer
from model.weights import WeightsError, load_transformer, save_weights

CONFIG = ModelConfig(
    vocab_size=20,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    max_position_embeddings=32,
    eos_token_ids=(0,),
)
UNTIED = ModelConfig.from_dict(CONFIG.to_dict() | {"tie_word_embeddings": False})
IDS = torch.arange(12)[None] % CONFIG.vocab_size


def fresh_model(config: ModelConfig = CONFIG) -> Transformer:
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_weights(fresh_model(), tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("max_shard_bytes", [1 << 30, 3000, 1])
@pytest.mark.parametrize("config", [CONFIG, UNTIED], ids=["tied", "untied"])
def test_what_is_saved_loads_as_it_was(
    tmp_path: Path, dtype: torch.dtype, max_shard_bytes: int, config: ModelConfig
) -> None:
    model = fresh_model(config)
    save_weights(model, tmp_path, dtype=dtype, max_shard_bytes=max_shard_bytes)
    loaded = load_transformer(tmp_path, dtype=None)
    assert loaded.config == config
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, expected[name].to(dtype))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with torch.inference_mode():
        in_f32 = load_transformer(tmp_path)
        assert in_f32.output_weight.dtype == torch.float32
        if dtype == torch.float32:
            assert torch.equal(in_f32(IDS), model(IDS))
        # The model that was saved is left as it was, in training mode with gradients.
        assert model.training
        assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_weights_load_in_the_type_asked_for_and_positions_stay_exact(
    tmp_path: Path, stored: torch.dtype, wanted: torch.dtype
) -> None:
    save_weights(fresh_model(), tmp_path, dtype=stored)
    loaded = load_transformer(tmp_path, dtype=wanted)
    assert {parameter.dtype for parameter in loaded.parameters()} == {wanted}
    reference = fresh_model()
    for name in ("cos_PD", "sin_PD"):
        table = loaded.get_buffer(name)
        assert table.device.type == "cpu"
        assert table.dtype == torch.float32
        assert torch.equal(table, reference.get_buffer(name))


def test_no_shard_is_larger_than_asked_unless_one_tensor_is(tmp_path: Path) -> None:
    limit = 3000
    save_weights(fresh_model(), tmp_path, max_shard_bytes=limit)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    names = sorted(set(index["weight_map"].values()))
    assert len(names) > 2
    assert names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    total = 0
    for name in names:
        tensors = load_file(tmp_path / name)
        size = sum(tensor.nbytes for tensor in tensors.values())
        assert size <= limit or len(tensors) == 1
        total += size
    assert index["metadata"]["total_size"] == total == 4 * CONFIG.num_parameters


def test_files_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        save_weights(fresh_model(), tmp_path, max_shard_bytes=3000)
    finally:
        os.umask(previous)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


def test_a_loaded_model_outlives_its_files(folder: Path) -> None:
    loaded = load_transformer(folder)
    with torch.inference_mode():
        before = loaded(IDS)
        file = folder / "model.safetensors"
        file.write_bytes(b"\xff" * file.stat().st_size)
        assert torch.equal(loaded(IDS), before)


def test_a_model_that_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    model = fresh_model()
    with torch.no_grad():
        model.model.norm.weight[2] = 1e5
    with pytest.raises(WeightsError, match=r"model.norm.weight holds .* not finite in float16"):
        save_weights(model, tmp_path, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_shard_bytes", [1 << 30, 3000])
def test_weights_are_not_saved_over_others(folder: Path, max_shard_bytes: int) -> None:
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(WeightsError, match="is there already"):
        save_weights(fresh_model(), folder, max_shard_bytes=max_shard_bytes)
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": torch.int8}, "dtype must be one of float32, bfloat16, float16"),
        ({"dtype": torch.float64}, "dtype must be one of"),
        ({"max_shard_bytes": 0}, "max_shard_bytes must be at least 1, got 0"),
    ],
    ids=str,
)
def test_a_bad_argument_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save_weights(fresh_model(), tmp_path, **changes)  # pyright: ignore[reportArgumentType]
    assert list(tmp_path.iterdir()) == []


def test_weights_are_not_loaded_as_integers(folder: Path) -> None:
    with pytest.raises(ValueError, match="must be a floating-point type"):
        load_transformer(folder, dtype=torch.int8)


PEAK_OF_LOADING = """
import sys
from pathlib import Path
import torch
from model.weights import load_transformer

def kib(field):
    status = Path("/proc/self/status").read_text()
    return int(status.split(field + ":")[1].split()[0])

load_transformer(Path(sys.argv[1]))  # Everything that the first use of a library costs.
before = kib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
model = load_transformer(Path(sys.argv[2]))
print((kib("VmHWM") - before) * 1024, "torch._dynamo" in sys.modules)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux' /proc")
def test_loading_takes_the_memory_of_one_model_and_no_compiler(tmp_path: Path) -> None:
    """Torch's compiler would take seconds of every start, and some 70 MB."""
    large = ModelConfig.from_dict(
        CONFIG.to_dict() | {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12}
    )
    for name, config in (("small", CONFIG), ("large", large)):
        (tmp_path / name).mkdir()
        save_weights(fresh_model(config), tmp_path / name, max_shard_bytes=20 << 20)
    gc.collect()
    command = [sys.executable, "-c", PEAK_OF_LOADING, str(tmp_path / "small")]
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [*command, str(tmp_path / "large")], capture_output=True, text=True, cwd=root, check=True
    )
    peak_bytes, has_compiler = result.stdout.split()
    assert has_compiler == "False"
    model_bytes = 4 * large.num_parameters
    assert model_bytes > 140 << 20
    # Besides the model the mapped pages of a shard count, more or fewer as the system likes; a
    # second model would double the sum.
    assert 0.9 * model_bytes <= int(peak_bytes) < 1.6 * model_bytes
