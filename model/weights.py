"""Weights between a Hugging Face folder and the network: safetensors in, safetensors out.

Pickled weights are never opened. Every tensor must be named, shaped and finite as the
configuration says before a model is handed out.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.config import ModelConfig
from model.transformer import Transformer

__all__ = ["WeightsError", "load_transformer", "save_weights"]

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_DTYPE_NAMES = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}


class WeightsError(ValueError):
    """A folder's weights do not fit its configuration."""


def load_transformer(
    directory: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> Transformer:
    """Load the model of a Hugging Face Llama folder, in evaluation mode.

    Args:
        directory: Holds ``config.json`` and ``model.safetensors`` or indexed shards.
        device: Where the parameters go.
        dtype: Type of the parameters; None keeps the one that the folder stores.

    Raises:
        ConfigError: ``config.json`` asks for what is not implemented.
        WeightsError: A tensor is missing, left over, of another shape or not finite.
        OSError: A file cannot be read.
    """
    config = ModelConfig.from_dict(json.loads((directory / "config.json").read_text("utf-8")))
    tensors: dict[str, Tensor] = {}
    for file in _weight_files(directory):
        with safe_open(file, framework="pt") as shard:  # pyright: ignore[reportUnknownVariableType]
            for name in shard.keys():  # noqa: SIM118 - not a mapping
                tensors[name] = shard.get_tensor(name)
    if config.tie_word_embeddings:
        # Some writers store the tied output matrix a second time.
        tensors.pop("lm_head.weight", None)
    with torch.device("meta"):
        model = Transformer(config)
    _check(
        tensors,
        {name: value.shape for name, value in model.state_dict().items()},
        directory,
    )
    stored_dtype = tensors["model.embed_tokens.weight"].dtype
    model = Transformer(config)
    model.load_state_dict(tensors)
    # The rotary tables stay in float32 whatever the weights are: they hold positions.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype or stored_dtype)
    return model.to(device).eval().requires_grad_(False)


def _weight_files(directory: Path) -> list[Path]:
    index = directory / INDEX_FILE
    if index.is_file():
        weight_map: Mapping[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
        return [directory / Path(name).name for name in sorted(set(weight_map.values()))]
    if (directory / SINGLE_FILE).is_file():
        return [directory / SINGLE_FILE]
    raise WeightsError(f"{directory}: neither {SINGLE_FILE} nor {INDEX_FILE} is there")


def _check(
    tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size], directory: Path
) -> None:
    for name in sorted(set(expected) | set(tensors)):
        if name not in tensors:
            raise WeightsError(f"{directory}: tensor {name} is missing")
        if name not in expected:
            raise WeightsError(f"{directory}: tensor {name} does not belong to this configuration")
        if tensors[name].shape != expected[name]:
            raise WeightsError(
                f"{directory}: tensor {name} must have the shape {list(expected[name])}, "
                f"got {list(tensors[name].shape)}"
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise WeightsError(f"{directory}: tensor {name} holds a value that is not finite")


def save_weights(
    model: Transformer,
    directory: Path,
    *,
    dtype: torch.dtype = torch.float32,
    max_shard_bytes: int = 4 << 30,
) -> None:
    """Write ``config.json`` and the weights as one safetensors file, or as indexed shards.

    Args:
        model: Its parameters are copied to the CPU; it is left as it is.
        directory: An existing folder.
        dtype: Stored type, one of float32, bfloat16, float16.
        max_shard_bytes: A shard never grows beyond this unless a single tensor does.

    Raises:
        OSError: A file cannot be written.
    """
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    config = model.config.to_dict(dtype=_DTYPE_NAMES[dtype])
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    shards: list[dict[str, Tensor]] = [{}]
    shard_bytes = 0
    for name, value in tensors.items():
        if shards[-1] and shard_bytes + value.nbytes > max_shard_bytes:
            shards.append({})
            shard_bytes = 0
        shards[-1][name] = value
        shard_bytes += value.nbytes
    if len(shards) == 1:
        save_file(shards[0], directory / SINGLE_FILE, metadata={"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, directory / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file_name)
    index = {
        "metadata": {"total_size": sum(value.nbytes for value in tensors.values())},
        "weight_map": dict(sorted(weight_map.items())),
    }
    (directory / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", "utf-8")
