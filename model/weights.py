"""Weights between a Hugging Face folder and the network: safetensors in, safetensors out.

Pickled weights are never opened. Every tensor must be named, shaped and finite as the
configuration says before a model is handed out.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from model.safetensors_header import read_header
from model.transformer import Transformer
from model.weight_files import INDEX_FILE, SINGLE_FILE, expected_tensors, verify_weight_files

__all__ = ["StoredWeights", "WeightsError", "load_transformer", "open_weights", "save_weights"]

_DTYPE_NAMES = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_STORED_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
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
    stored = open_weights(directory)
    tensors = dict(stored.tensors(device=device, dtype=dtype, copy=True))
    stored_dtype = dtype or tensors[_EMBEDDING].dtype
    with torch.device("meta"):
        model = Transformer(stored.config)
    model.load_state_dict({n: t.to(stored_dtype) for n, t in tensors.items()}, assign=True)
    return model.to(device).eval().requires_grad_(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """The weights of a folder, as `open_weights` found them.

    Attributes:
        directory: The folder.
        config: What its ``config.json`` says.
        files: Its safetensors files.
    """

    directory: Path
    config: ModelConfig
    files: tuple[Path, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Number type that the embedding is stored in."""
        for file in self.files:
            if (entry := read_header(file).tensors.get(_EMBEDDING)) is not None:
                return _STORED_DTYPES[entry.dtype]
        raise AssertionError("open_weights has seen the embedding")

    def tensors(
        self,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        copy: bool = False,
    ) -> Iterator[tuple[str, Tensor]]:
        """Every tensor that the configuration names, once, with its name.

        Args:
            device: Where they go.
            dtype: What they are rounded to; None leaves each as it is stored.
            copy: Whether they outlive the files as they are now; else some are the files' own
                bytes, to be read at once.

        Raises:
            WeightsError: A file cannot be read, a tensor is not finite, or an output matrix is
                stored that differs from the embedding it is said to be.
        """
        expected = expected_tensors(self.config)
        tied: dict[str, Tensor] = {}
        for name, stored in _read_tensors(self.files):
            if name not in expected and name != _OUTPUT:
                # Rotary tables that old writers stored are computed here.
                continue
            tensor = stored.to(device, dtype, copy=copy)
            if not bool(tensor.isfinite().all()):
                raise WeightsError(
                    f"{self.directory}: tensor {name} holds a value that is not finite "
                    f"in {_plain(tensor.dtype)}"
                )
            if self.config.tie_word_embeddings and name in (_EMBEDDING, _OUTPUT):
                tied[name] = tensor
            if name in expected:
                yield name, tensor
        # Some writers store the tied output matrix a second time; some forget to say that it is a
        # matrix of its own, and then nobody knows which of the two was meant.
        if _OUTPUT in tied and not torch.equal(tied[_OUTPUT], tied[_EMBEDDING]):
            raise WeightsError(
                f"{self.directory}: tensor {_OUTPUT} differs from {_EMBEDDING} although "
                "tie_word_embeddings is true"
            )


def open_weights(directory: Path) -> StoredWeights:
    """Check the headers of a Hugging Face folder's weights; nothing is read yet.

    Raises:
        ConfigError: ``config.json`` asks for what is not implemented.
        WeightsError: A file is missing or damaged, only pickled weights are there, or a tensor is
            missing, left over, or of another shape or type.
    """
    config_file = directory / "config.json"
    try:
        config = ModelConfig.from_dict(read_json_object(config_file))
        files = verify_weight_files(directory, config)
    except ConfigError as error:
        raise ConfigError(f"{config_file}: {error}") from error
    except ArtifactError as error:
        raise WeightsError(str(error)) from error
    return StoredWeights(directory=directory, config=config, files=files)


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
