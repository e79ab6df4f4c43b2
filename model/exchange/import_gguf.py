"""From a GGUF file to a folder that is served: shape, weights, tokenizer, chat template.

One tensor is in memory at a time. Nothing is guessed: what the file does not say in words that are
known here is refused by name.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from model.artifact import expected_tensors
from model.artifact_error import ArtifactError
from model.config import ConfigError, ModelConfig
from model.durable_files import digest_file, write_file
from model.exchange.gguf_file import GgufFile, read_gguf
from model.exchange.gguf_shape import ROTARY_DIVISORS, read_shape
from model.exchange.gguf_tensors import gguf_names, hugging_face_order
from model.exchange.gguf_tokenizer import ImportedTokenizer, read_tokenizer
from model.exchange.new_folder import publish_folder
from model.exchange.number_types import CONFIG_NAMES, SAFETENSORS_NAMES, to_array
from model.safetensors_header import encode_header
from model.weight_files import SINGLE_FILE

__all__ = ["Imported", "import_gguf"]

# Matrices of these types lose nothing in their own; all others are computed out in f32.
_OWN_TYPES: Mapping[str, str] = {"BF16": "bf16", "F16": "f16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import made.

    Attributes:
        config: The network.
        dtype: Type that the weights are stored in now: f32, f16 or bf16.
        tokenizer_kind: GGUF's word for the tokenizer.
        has_chat_template: Whether the file brought one.
        stored_as: Number of tensors of each type in the file.
    """

    config: ModelConfig
    dtype: str
    tokenizer_kind: str
    has_chat_template: bool
    stored_as: Mapping[str, int]


def import_gguf(source: Path, directory: Path, *, dtype: str | None = None) -> Imported:
    """Make a model folder out of a GGUF file.

    Args:
        source: The file, its tensors of any type that the package ``gguf`` can decode.
        directory: A new or empty folder.
        dtype: f32, f16 or bf16; None keeps f16 and bf16 and computes quantised weights out in f32.

    Raises:
        ArtifactError: The file is damaged or asks for what is not implemented, the folder is not
            empty or cannot be written; nothing remains.
    """
    file = read_gguf(source)
    config = read_shape(file)
    tokenizer = read_tokenizer(
        file, vocab_size=config.vocab_size, context_tokens=config.max_position_embeddings
    )
    try:
        config = replace(
            config, bos_token_id=tokenizer.bos_token_id, eos_token_ids=tokenizer.eos_token_ids
        )
    except ConfigError as error:
        raise ArtifactError(f"{source}: {error}") from error
    _check_tensors(file, config)
    stored_as = Counter(tensor.stored_as for tensor in file.tensors.values())
    chosen = dtype or _OWN_TYPES.get(file.tensors["token_embd.weight"].stored_as, "f32")
    if dtype is None and not {*stored_as} <= {chosen.upper(), "F32"}:
        chosen = "f32"

    def write(work: Path) -> None:
        _write_json(work / "config.json", config.to_dict(dtype=CONFIG_NAMES[chosen]))
        _write_json(work / "generation_config.json", _generation(config))
        _write_json(work / "tokenizer.json", tokenizer.specification, indent=None)
        _write_json(work / "tokenizer_config.json", tokenizer.settings)
        (work / "README.md").write_text(_card(file, stored_as), "utf-8")
        _write_weights(work / SINGLE_FILE, file, config, chosen)

    digest = digest_file(source)
    origin = {"file": source.name, "sha256": digest.sha256, "tensor_types": dict(stored_as)}
    publish_folder(directory, write, manifest={"imported_from": origin})
    return Imported(
        config=config,
        dtype=chosen,
        tokenizer_kind=tokenizer.kind,
        has_chat_template=_has_template(tokenizer),
        stored_as=stored_as,
    )


def _check_tensors(file: GgufFile, config: ModelConfig) -> None:
    """Refuse a file that lacks a tensor, has one of another shape, or one too many."""
    names = gguf_names(config)
    for name, shape in expected_tensors(config).items():
        tensor = file.tensors.get(names[name])
        if tensor is None:
            raise ArtifactError(f"{file.path}: tensor {names[name]} is missing")
        if tensor.shape != shape:
            raise ArtifactError(
                f"{file.path}: tensor {names[name]} must have the shape {list(shape)}, "
                f"got {list(tensor.shape)}"
            )
    for left in sorted(file.tensors.keys() - {*names.values(), ROTARY_DIVISORS}):
        raise ArtifactError(f"{file.path}: tensor {left[:80]!a} is not supported")


def _write_weights(path: Path, file: GgufFile, config: ModelConfig, dtype: str) -> None:
    shapes = expected_tensors(config)
    names = gguf_names(config)
    architecture = file.text("general.architecture") or ""

    def chunks() -> Iterator[bytes | memoryview]:
        entries = ((name, SAFETENSORS_NAMES[dtype], shape) for name, shape in shapes.items())
        yield encode_header(entries, metadata={"format": "pt"})
        for name, shape in shapes.items():
            values = file.tensors[names[name]].values().reshape(shape)
            values = hugging_face_order(values, name, config, architecture=architecture)
            try:
                yield to_array(values, dtype).tobytes()
            except ValueError as error:
                raise ArtifactError(f"{file.path}: tensor {names[name]}: {error}") from error

    write_file(path, chunks())


def _write_json(path: Path, values: Mapping[str, object], *, indent: int | None = 2) -> None:
    path.write_text(json.dumps(values, indent=indent, allow_nan=False) + "\n", "utf-8")


def _generation(config: ModelConfig) -> dict[str, object]:
    eos = config.eos_token_ids
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos[0] if len(eos) == 1 else (list(eos) or None),
    }


def _has_template(tokenizer: ImportedTokenizer) -> bool:
    return "chat_template" in tokenizer.settings


def _card(file: GgufFile, stored_as: Mapping[str, int]) -> str:
    types = ", ".join(f"{count} of type {kind}" for kind, count in sorted(stored_as.items()))
    name = (file.text("general.name") or file.path.stem).replace("\n", " ")
    licence = (file.text("general.license") or "not stated").replace("\n", " ")
    return (
        f"# {name}\n\nImported from the GGUF file `{file.path.name}` (tensors: {types}).\n\n"
        f"License, as the file says: {licence}.\n"
    )
