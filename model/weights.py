"""Weights between a Hugging Face folder and the network: safetensors in, safetensors out.

Pickled weights are never opened. Every tensor must be named, shaped and finite as the
configuration says before a model is handed out.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from model.artifact_error import ArtifactError
from model.config import ConfigError, ModelConfig
from model.durable_files import write_file
from model.json_file import read_json_object
from model.transformer import Transformer
from model.weight_files import INDEX_FILE, SINGLE_FILE, expected_tensors, verify_weight_files

__all__ = ["WeightsError", "load_transformer", "save_weights"]

_DTYPE_NAMES = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_EMBEDDING, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


class WeightsError(ValueError):
    """A folder's weights are damaged or do not fit its configuration, or a model cannot be saved.

    The message is one line that names the file or the tensor.
    """


def load_transformer(
    directory: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> Transformer:
    """Load the model of a Hugging Face Llama folder, in evaluation mode and without gradients.

    The folder's headers are checked before anything is allocated. Parameters are copies: the
    files may change or go afterwards. At most one tensor more than the model is in memory.

    Args:
        directory: Holds ``config.json`` and ``model.safetensors`` or indexed shards.
        device: Where the model goes.
        dtype: Type of the parameters; None keeps the one that the embedding is stored in. The
            rotary tables stay in float32 whatever the weights are: they hold positions.

    Raises:
        ConfigError: ``config.json`` asks for what is not implemented.
        WeightsError: A file is missing or damaged, only pickled weights are there, or a tensor is
            missing, left over, of another shape or type, or not finite.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point type, got {dtype}")
    config_file = directory / "config.json"
    try:
        config = ModelConfig.from_dict(read_json_object(config_file))
        files = verify_weight_files(directory, config)
    except ConfigError as error:
        raise ConfigError(f"{config_file}: {error}") from error
    except ArtifactError as error:
        raise WeightsError(str(error)) from error
    tensors: dict[str, Tensor] = {}
    for name, stored in _read_tensors(files):
        tensors[name] = stored.to(device, dtype, copy=True)
        if not bool(tensors[name].isfinite().all()):
            raise WeightsError(
                f"{directory}: tensor {name} holds a value that is not finite "
                f"in {_plain(tensors[name].dtype)}"
            )
    stored_output = tensors.pop(_OUTPUT, None) if config.tie_word_embeddings else None
    # Some writers store the tied output matrix a second time; some forget to say that it is a
    # matrix of its own, and then nobody knows which of the two was meant.
    if stored_output is not None and not torch.equal(stored_output, tensors[_EMBEDDING]):
        raise WeightsError(
            f"{directory}: tensor {_OUTPUT} differs from {_EMBEDDING} although "
            "tie_word_embeddings is true"
        )
    # Rotary tables that old writers stored are computed here.
    tensors = {name: tensors[name] for name in expected_tensors(config)}
    stored_dtype = dtype or tensors[_EMBEDDING].dtype
    with torch.device("meta"):
        model = Transformer(config)
    model.load_state_dict({n: t.to(stored_dtype) for n, t in tensors.items()}, assign=True)
    return model.to(device).eval().requires_grad_(False)


def _read_tensors(files: tuple[Path, ...]) -> Iterator[tuple[str, Tensor]]:
    for file in files:
        try:
            with safe_open(file, framework="pt") as shard:  # pyright: ignore[reportUnknownVariableType]
                for name in cast("list[str]", shard.keys()):
                    yield name, cast("Tensor", shard.get_tensor(name))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{file}: cannot be read: {error}") from error


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def save_weights(
    model: Transformer,
    directory: Path,
    *,
    dtype: torch.dtype = torch.float32,
    max_shard_bytes: int = 1 << 30,
) -> None:
    """Write ``config.json`` and the weights as one safetensors file, or as indexed shards.

    Args:
        model: Its parameters are copied to the CPU; it is left as it is.
        directory: An existing folder without weights.
        dtype: Stored type, one of float32, bfloat16, float16.
        max_shard_bytes: Tensors of a shard hold at most this together, unless a single one holds
            more. One shard is copied in memory at a time.

    Raises:
        WeightsError: The folder holds weights already, or a value is not finite in ``dtype``.
        OSError: A file cannot be written.
    """
    if dtype not in _DTYPE_NAMES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPE_NAMES.values())}, got {dtype}")
    if max_shard_bytes < 1:
        raise ValueError(f"max_shard_bytes must be at least 1, got {max_shard_bytes}")
    for name in (SINGLE_FILE, INDEX_FILE):
        if (directory / name).exists():
            raise WeightsError(f"{directory}: {name} is there already")
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        tensors[name] = value.detach().to("cpu", dtype).contiguous()
        if not bool(tensors[name].isfinite().all()):
            raise WeightsError(
                f"tensor {name} holds a value that is not finite in {_plain(dtype)}; "
                "nothing was written"
            )
    _write_json(directory / "config.json", model.config.to_dict(dtype=_DTYPE_NAMES[dtype]))
    shards: list[dict[str, Tensor]] = [{}]
    shard_bytes = 0
    for name, value in tensors.items():
        if shards[-1] and shard_bytes + value.nbytes > max_shard_bytes:
            shards.append({})
            shard_bytes = 0
        shards[-1][name] = value
        shard_bytes += value.nbytes
    if len(shards) == 1:
        _write_shard(directory / SINGLE_FILE, shards[0])
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(directory / file_name, shard)
        weight_map |= dict.fromkeys(shard, file_name)
    total_bytes = sum(value.nbytes for value in tensors.values())
    index = {
        "metadata": {"total_size": total_bytes},
        "weight_map": dict(sorted(weight_map.items())),
    }
    _write_json(directory / INDEX_FILE, index)


def _write_shard(path: Path, tensors: dict[str, Tensor]) -> None:
    # Not the library's save_file: it makes files that only their owner can read, and reports a
    # full disk as an error of its own. Readers of this format ask for the metadata.
    write_file(path, [save(tensors, metadata={"format": "pt"})])


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
