"""Which files hold a folder's weights, and whether they are exactly what its configuration needs.

Torch-free: reads headers, and bytes only to look for NaN and Infinity. Pickles are never opened.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from model.artifact_error import ArtifactError
from model.config import ModelConfig
from model.json_file import read_json_object
from model.safetensors_header import (
    ITEM_BYTES,
    MAX_TENSORS,
    SafetensorsHeader,
    TensorEntry,
    read_header,
)

__all__ = [
    "INDEX_FILE",
    "PICKLE_SUFFIXES",
    "SINGLE_FILE",
    "expected_tensors",
    "has_non_finite",
    "verify_weight_files",
]

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})

_WEIGHT_DTYPES = frozenset({"F32", "F16", "BF16"})
_LAYER_TENSORS = 15
_SCAN_BYTES = 4 << 20
_MAX_SHOWN_NAME = 120


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor of a Hugging Face folder of this configuration."""
    width, heads_width = config.hidden_size, config.num_attention_heads * config.head_dim
    kv_width = config.num_key_value_heads * config.head_dim
    inner = config.intermediate_size
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, width)}
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        tensors |= {
            f"{prefix}.input_layernorm.weight": (width,),
            f"{prefix}.self_attn.q_proj.weight": (heads_width, width),
            f"{prefix}.self_attn.k_proj.weight": (kv_width, width),
            f"{prefix}.self_attn.v_proj.weight": (kv_width, width),
            f"{prefix}.self_attn.o_proj.weight": (width, heads_width),
            f"{prefix}.post_attention_layernorm.weight": (width,),
            f"{prefix}.mlp.gate_proj.weight": (inner, width),
            f"{prefix}.mlp.up_proj.weight": (inner, width),
            f"{prefix}.mlp.down_proj.weight": (width, inner),
        }
        if config.attention_bias:
            tensors |= {
                f"{prefix}.self_attn.q_proj.bias": (heads_width,),
                f"{prefix}.self_attn.k_proj.bias": (kv_width,),
                f"{prefix}.self_attn.v_proj.bias": (kv_width,),
            }
        if config.attention_output_bias:
            tensors[f"{prefix}.self_attn.o_proj.bias"] = (width,)
        if config.qk_norm:
            tensors |= {
                f"{prefix}.self_attn.q_norm.weight": (config.head_dim,),
                f"{prefix}.self_attn.k_norm.weight": (config.head_dim,),
            }
    tensors["model.norm.weight"] = (width,)
    if not config.tie_word_embeddings:
        tensors["lm_head.weight"] = (config.vocab_size, width)
    return tensors


def verify_weight_files(directory: Path, config: ModelConfig) -> tuple[Path, ...]:
    """Check a folder's weights against its configuration without reading them.

    Returns:
        The safetensors files, one or the shards in order.

    Raises:
        ArtifactError: Only pickled weights, no weights, two sets of weights, a damaged file, or a
            tensor that is missing, left over, of another shape or of a type we cannot compute with.
    """
    if config.num_hidden_layers > MAX_TENSORS // _LAYER_TENSORS:
        # Otherwise a configuration could make us list names until memory ends.
        raise ArtifactError(
            f"{directory}: num_hidden_layers must be at most {MAX_TENSORS // _LAYER_TENSORS}, "
            f"got {config.num_hidden_layers}"
        )
    headers = _read_headers(directory)
    found: dict[str, tuple[Path, TensorEntry]] = {}
    for header in headers:
        for name, entry in header.tensors.items():
            if name in found:
                raise ArtifactError(f"{header.path}: tensor {_shown(name)} is in another shard too")
            found[name] = (header.path, entry)
    expected = expected_tensors(config)
    for name, shape in expected.items():
        if name not in found:
            raise ArtifactError(f"{directory}: tensor {name} is missing from the weights")
        _check_entry(*found[name], name, shape)
    optional = {"lm_head.weight": expected["model.embed_tokens.weight"]}
    for name in found.keys() - expected.keys():
        path, entry = found[name]
        # Writers keep two things that loaders recompute: the tied output matrix, old rotary tables.
        if name in optional:
            _check_entry(path, entry, name, optional[name])
        elif not name.endswith(".self_attn.rotary_emb.inv_freq"):
            raise ArtifactError(f"{path}: tensor {_shown(name)} does not belong to config.json")
    return tuple(header.path for header in headers)


def has_non_finite(path: Path) -> bool:
    """Whether any floating-point tensor of a safetensors file holds NaN or Infinity.

    Reads the file once in pieces of a few MiB.

    Raises:
        ArtifactError: The file is damaged or cannot be read.
    """
    header = read_header(path)
    try:
        with path.open("rb") as file:
            for entry in header.tensors.values():
                if not entry.dtype.startswith(("F", "BF")):
                    continue
                file.seek(entry.start)
                remaining = entry.end - entry.start
                while remaining:
                    data = file.read(min(remaining, _SCAN_BYTES))
                    if not data or len(data) % ITEM_BYTES[entry.dtype]:
                        raise ArtifactError(f"{path}: truncated while it was read")
                    if not _all_finite(data, entry.dtype):
                        return True
                    remaining -= len(data)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or 'cannot be read'}") from error
    return False


def _read_headers(directory: Path) -> list[SafetensorsHeader]:
    single, index = directory / SINGLE_FILE, directory / INDEX_FILE
    match single.is_file(), index.is_file():
        case True, True:
            raise ArtifactError(f"{directory}: holds both {SINGLE_FILE} and {INDEX_FILE}")
        case True, False:
            return [read_header(single)]
        case False, True:
            return _read_shards(index)
        case _:
            pickles = _names_of_pickles(directory)
            if pickles:
                raise ArtifactError(
                    f"{directory / pickles[0]}: pickled weights can run code and are never opened; "
                    f"convert them to {SINGLE_FILE}"
                )
            raise ArtifactError(f"{directory}: neither {SINGLE_FILE} nor {INDEX_FILE} is there")


def _read_shards(index: Path) -> list[SafetensorsHeader]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ArtifactError(f"{index}: weight_map must name the file of each tensor")
    tensors_of: dict[str, set[str]] = {}
    for tensor, file_name in cast("dict[str, object]", weight_map).items():
        if not isinstance(file_name, str) or not _is_plain_shard_name(file_name):
            raise ArtifactError(f"{index}: weight_map must name shards beside it")
        tensors_of.setdefault(file_name, set()).add(tensor)
    headers: list[SafetensorsHeader] = []
    for file_name, tensors in sorted(tensors_of.items()):
        header = read_header(index.parent / file_name)
        if set(header.tensors) != tensors:
            raise ArtifactError(f"{header.path}: holds other tensors than {INDEX_FILE} says")
        headers.append(header)
    return headers


def _is_plain_shard_name(name: str) -> bool:
    return (
        name.endswith(".safetensors")
        and len(name) <= _MAX_SHOWN_NAME
        and not name.startswith(".")
        and not set(name) & set("/\\\0")
    )


def _names_of_pickles(directory: Path) -> list[str]:
    try:
        return sorted(p.name for p in directory.iterdir() if p.suffix.lower() in PICKLE_SUFFIXES)
    except OSError as error:
        raise ArtifactError(f"{directory}: {error.strerror or 'cannot be read'}") from error


def _check_entry(path: Path, entry: TensorEntry, name: str, shape: tuple[int, ...]) -> None:
    if entry.shape != shape:
        raise ArtifactError(
            f"{path}: tensor {name} must have the shape {list(shape)}, got {list(entry.shape)}"
        )
    if entry.dtype not in _WEIGHT_DTYPES:
        raise ArtifactError(
            f"{path}: tensor {name} must be of type {', '.join(sorted(_WEIGHT_DTYPES))}, "
            f"got {entry.dtype}"
        )


def _shown(name: str) -> str:
    """A name from a foreign file, fit for one line of a log."""
    return ascii(name if len(name) <= _MAX_SHOWN_NAME else name[:_MAX_SHOWN_NAME] + "...")


def _all_finite(data: bytes, dtype: str) -> bool:
    if dtype == "BF16":
        # The upper half of a float32: all exponent bits set means NaN or Infinity.
        exponents = np.frombuffer(data, "<u2") & np.uint16(0x7F80)
        return not bool((exponents == 0x7F80).any())
    floats: Mapping[str, str] = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
    return bool(np.isfinite(np.frombuffer(data, floats[dtype])).all())
