"""From a model folder to a GGUF file that llama.cpp and what is built on it load.

One tensor is in memory at a time. What GGUF cannot say is refused; nothing is left out in silence.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, RopeScalingType

from model.artifact import Artifact, expected_tensors, read_artifact
from model.artifact_error import ArtifactError
from model.config import ModelConfig
from model.durable_files import sync_directory, sync_file, work_directory
from model.exchange.gguf_shape import (
    ROTARY_DIVISORS,
    architecture_of,
    rotary_divisors,
    shape_values,
)
from model.exchange.gguf_tensors import gguf_names, gguf_order
from model.exchange.gguf_tokenizer import GgufVocabulary, vocabulary_of
from model.exchange.number_types import SAFETENSORS_NAMES, from_bytes, to_array
from model.json_file import read_json_object
from model.safetensors_header import ITEM_BYTES, TensorEntry, read_header
from model.tokenizer import Tokenizer

__all__ = ["Exported", "export_gguf"]

_TYPES: Mapping[str, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export made.

    Attributes:
        config: The network.
        architecture: GGUF's name of it.
        dtype: Type of the matrices; norms and biases are f32 always.
        tokenizer_kind: GGUF's word for the tokenizer.
        has_chat_template: Whether the file has one.
        size_bytes: Size of the file.
    """

    config: ModelConfig
    architecture: str
    dtype: str
    tokenizer_kind: str
    has_chat_template: bool
    size_bytes: int


def export_gguf(directory: Path, target: Path, *, dtype: str | None = None) -> Exported:
    """Write a folder's network and tokenizer as one GGUF file.

    Args:
        directory: A model folder that can be served, its tokenizer byte-level BPE.
        target: The new file; it appears whole or not at all.
        dtype: f32, f16 or bf16; None is the folder's own.

    Raises:
        ArtifactError: The folder cannot be served or said in GGUF's words, the file is there
            already or cannot be written.
    """
    artifact = read_artifact(directory)
    config = artifact.config
    architecture = architecture_of(config)
    vocabulary = vocabulary_of(directory, vocab_size=config.vocab_size)
    if not vocabulary.merges:
        raise ArtifactError(
            f"{directory / 'tokenizer.json'}: llama.cpp takes no BPE without merges"
        )
    ends = _end_token_ids(artifact)
    template = _chat_template(directory)
    entries = _entries(artifact)
    stored = entries["model.embed_tokens.weight"][1].dtype
    chosen = dtype or next(word for word, name in SAFETENSORS_NAMES.items() if name == stored)
    if target.exists():
        raise ArtifactError(f"{target}: is there already")
    try:
        with work_directory(target.absolute().parent) as work:
            writer = GGUFWriter(work / "model.gguf", architecture)
            writer.add_type("model")
            writer.add_name(artifact.name)
            writer.add_file_type(_TYPES[chosen][1])
            _add_shape(writer, config, architecture)
            _add_tokenizer(writer, vocabulary, config, ends)
            if template is not None:
                writer.add_chat_template(template)
            _write(writer, [*_tensors(entries, config, architecture, chosen)])
            sync_file(work / "model.gguf")
            size = (work / "model.gguf").stat().st_size
            os.rename(work / "model.gguf", target)
        sync_directory(target.absolute().parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(f"{target}: cannot be written: {reason}") from error
    return Exported(
        config=config,
        architecture=architecture,
        dtype=chosen,
        tokenizer_kind=vocabulary.kind,
        has_chat_template=template is not None,
        size_bytes=size,
    )


def _add_shape(writer: GGUFWriter, config: ModelConfig, architecture: str) -> None:
    for name, value in shape_values(config).items():
        if isinstance(value, float):
            writer.add_float32(f"{architecture}.{name}", value)
        else:
            writer.add_uint32(f"{architecture}.{name}", value)
    # Where the key is missing, llama.cpp takes another kind for granted.
    writer.add_rope_scaling_type(RopeScalingType.NONE)


def _add_tokenizer(
    writer: GGUFWriter, vocabulary: GgufVocabulary, config: ModelConfig, ends: tuple[int, ...]
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.kind)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    # llama.cpp has a begin token always; which one matters only where it is added.
    writer.add_bos_token_id(ends[0] if config.bos_token_id is None else config.bos_token_id)
    writer.add_eos_token_id(ends[0])
    for token_id, add in zip(
        ends[1:], (writer.add_eot_token_id, writer.add_eom_token_id), strict=False
    ):
        add(token_id)
    writer.add_add_bos_token(vocabulary.adds_bos)


def _end_token_ids(artifact: Artifact) -> tuple[int, ...]:
    """Tokens that end a text, at most the three that GGUF has keys for."""
    own = Tokenizer.load(artifact.directory).end_of_text_id
    ends = artifact.end_token_ids or (() if own is None else (own,))
    if not 1 <= len(ends) <= 3:
        raise ArtifactError(
            f"{artifact.directory}: a GGUF file has one to three tokens that end a text, "
            f"got {len(ends)}"
        )
    return ends


def _chat_template(directory: Path) -> str | None:
    beside = directory / "chat_template.jinja"
    if beside.exists():
        return beside.read_text("utf-8")
    path = directory / "tokenizer_config.json"
    template = read_json_object(path).get("chat_template") if path.exists() else None
    if template is None or isinstance(template, str):
        return template
    raise ArtifactError(f"{path}: only a single chat_template can be exported")


def _entries(artifact: Artifact) -> dict[str, tuple[Path, TensorEntry]]:
    return {
        name: (path, entry)
        for path in artifact.weight_files
        for name, entry in read_header(path).tensors.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """One tensor on its way: what the file says of it beforehand, and its numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: Callable[[], npt.NDArray[np.float32]]


def _tensors(
    entries: Mapping[str, tuple[Path, TensorEntry]],
    config: ModelConfig,
    architecture: str,
    dtype: str,
) -> Iterator[_Tensor]:
    names = gguf_names(config)
    for name, shape in expected_tensors(config).items():
        values = partial(_read, *entries[name], name, config, architecture)
        # Norms and biases are f32 in every file of llama.cpp's.
        kind = dtype if len(shape) > 1 else "f32"
        yield _Tensor(name=names[name], shape=shape, dtype=kind, values=values)
    if config.rope_scaling is not None:
        divisors = np.array(rotary_divisors(config, config.rope_scaling), dtype=np.float32)
        yield _Tensor(
            name=ROTARY_DIVISORS, shape=divisors.shape, dtype="f32", values=lambda: divisors
        )


def _read(
    path: Path, entry: TensorEntry, name: str, config: ModelConfig, architecture: str
) -> npt.NDArray[np.float32]:
    with path.open("rb") as file:
        file.seek(entry.start)
        values = from_bytes(file.read(entry.end - entry.start), entry.dtype)
    return gguf_order(values.reshape(entry.shape), name, config, architecture=architecture)


def _write(writer: GGUFWriter, tensors: list[_Tensor]) -> None:
    for tensor in tensors:
        num_bytes = math.prod(tensor.shape) * ITEM_BYTES[SAFETENSORS_NAMES[tensor.dtype]]
        writer.add_tensor_info(
            tensor.name,
            tensor.shape,
            np.dtype(np.float32),
            num_bytes,
            raw_dtype=_TYPES[tensor.dtype][0],
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        for tensor in tensors:
            try:
                numbers = to_array(tensor.values(), tensor.dtype)
            except ValueError as error:
                raise ArtifactError(f"tensor {tensor.name}: {error}") from error
            writer.write_tensor_data(numbers)
    finally:
        writer.close()
