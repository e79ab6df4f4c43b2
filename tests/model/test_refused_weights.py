"""Folders that must not be loaded: each is refused in one line that names what is wrong."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import (
    load_file,  # pyright: ignore[reportUnknownVariableType]: paths without their parameters
    save_file,  # pyright: ignore[reportUnknownVariableType]: the same
)
from torch import Tensor

from model.config import ConfigError, ModelConfig
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
IDS = torch.arange(12)[None] % CONFIG.vocab_size
QUERY = "model.layers.1.self_attn.q_proj.weight"


def fresh_model(config: ModelConfig = CONFIG) -> Transformer:
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_weights(fresh_model(), tmp_path)
    return tmp_path


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    file.unlink()
    save_file(tensors, file, metadata={"format": "pt"})


def refusal(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_transformer(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop(QUERY))
    assert f"tensor {QUERY} is missing" in refusal(folder)


def test_a_tensor_too_many_is_named(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({"score.weight": torch.ones(2)}))
    assert "score.weight" in refusal(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({QUERY: torch.ones(16, 15)}))
    assert f"tensor {QUERY} must have the shape [16, 16], got [16, 15]" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float64], ids=str)
def test_a_tensor_of_another_type_is_named(folder: Path, dtype: torch.dtype) -> None:
    change_tensors(folder, lambda tensors: tensors.update({QUERY: torch.ones(16, 16).to(dtype)}))
    assert f"tensor {QUERY} must be of type" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_value_that_is_not_finite_is_refused(
    folder: Path, value: float, dtype: torch.dtype
) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[QUERY] = tensors[QUERY].to(dtype)
        tensors[QUERY][3, 5] = value

    change_tensors(folder, spoil)
    assert f"tensor {QUERY} holds a value that is not finite" in refusal(folder)


def test_a_value_too_large_for_the_type_asked_for_is_refused(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors[QUERY].fill_(1e5))
    load_transformer(folder)
    with pytest.raises(WeightsError, match=f"{QUERY} holds a value that is not finite in float16"):
        load_transformer(folder, dtype=torch.float16)


def test_a_tied_output_may_be_stored_but_not_differ(folder: Path) -> None:
    with torch.inference_mode():
        expected = load_transformer(folder)(IDS)

    def store_output(tensors: dict[str, Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    change_tensors(folder, store_output)
    with torch.inference_mode():
        assert torch.equal(load_transformer(folder)(IDS), expected)
    change_tensors(folder, lambda tensors: tensors["lm_head.weight"][0].add_(1.0))
    assert "lm_head.weight differs from model.embed_tokens.weight" in refusal(folder)


def test_damaged_files_are_one_line(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    header_bytes = struct.unpack("<Q", whole[:8])[0]
    damaged = {
        "empty": b"",
        "cut in the length": whole[:5],
        "cut in the header": whole[: 8 + header_bytes // 2],
        "cut in the data": whole[:-1],
        "a byte more": whole + b"\0",
        "no header": struct.pack("<Q", 0) + whole[8:],
        "enormous header": struct.pack("<Q", 1 << 62) + whole[8:],
        "not JSON": whole[:8] + b"{" * header_bytes + whole[8 + header_bytes :],
        "a text": b"<!DOCTYPE html><html>not found</html>",
    }
    for content in damaged.values():
        file.write_bytes(content)
        assert str(file) in refusal(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "must hold a JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=["empty", "cut", "list", "bytes", "deep"],
)
def test_a_damaged_configuration_is_one_line(folder: Path, content: bytes, message: str) -> None:
    (folder / "config.json").write_bytes(content)
    assert message in refusal(folder)


def test_what_a_configuration_asks_too_much_is_named_with_its_file(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(CONFIG.to_dict() | {"hidden_act": "gelu"}))
    with pytest.raises(ConfigError, match=r"config\.json: config key hidden_act='gelu'"):
        load_transformer(folder)
    file.unlink()
    assert "No such file" in refusal(folder)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "a/../../x.safetensors", "..", "", 7]
)
def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path, name: object) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    save_weights(fresh_model(), folder)
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    names = fresh_model().state_dict()
    index = {"weight_map": dict.fromkeys(names, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "weight_map must name shards beside it" in refusal(folder)


def test_an_index_without_its_shard_is_one_line(tmp_path: Path) -> None:
    save_weights(fresh_model(), tmp_path, max_shard_bytes=3000)
    next(iter(sorted(tmp_path.glob("model-00002-*")))).unlink()
    assert "model-00002" in refusal(tmp_path)


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickles_are_never_opened(folder: Path, tmp_path: Path, name: str) -> None:
    trap = tmp_path / "it ran"
    (folder / name).write_bytes(pickle.dumps(Bomb(trap)))
    load_transformer(folder)
    (folder / "model.safetensors").unlink()
    assert "never opened" in refusal(folder)
    (folder / name).rename(folder / "model.safetensors")
    refusal(folder)
    assert not trap.exists()
    # The positive control: opened, it does run.
    pickle.loads((folder / "model.safetensors").read_bytes())
    assert trap.is_dir()


def test_a_configuration_cannot_make_us_allocate_what_the_files_do_not_hold(folder: Path) -> None:
    file = folder / "config.json"
    for key in ("vocab_size", "intermediate_size", "num_hidden_layers"):
        file.write_text(json.dumps(CONFIG.to_dict() | {key: 1 << 40}))
        refusal(folder)
