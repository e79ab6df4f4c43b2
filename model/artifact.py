"""The artifact folder: what training hands to serving, read and checked without loading weights.

A Hugging Face Llama folder, ours with a manifest.json, or one that others made. Torch-free.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from model.artifact_error import ArtifactError
from model.config import ConfigError, ModelConfig
from model.config_values import token_ids
from model.json_file import read_json_object
from model.manifest import read_manifest, verify_manifest
from model.weight_files import expected_tensors, verify_weight_files

__all__ = [
    "NAME_PATTERN",
    "VERSION_PATTERN",
    "Artifact",
    "ArtifactError",
    "expected_tensors",
    "read_artifact",
    "verify_weight_files",
]

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
VERSION_PATTERN = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One readable model folder.

    Attributes:
        directory: The folder.
        name: Name in the store; elsewhere what the manifest says, else made from the folder's name.
        version: Version in the store; elsewhere what the manifest says, else "0".
        config: Shape of the network.
        end_token_ids: Tokens that end a text, of ``config.json`` and ``generation_config.json``:
            folders tuned for conversations name more in the second.
        generation_defaults: Content of ``generation_config.json``, empty where there is none.
        manifest: Content of ``manifest.json``, None for a folder that others made.
        weight_files: The safetensors files, shards in order.
        size_bytes: Sum of the weight files' sizes.
    """

    directory: Path
    name: str
    version: str
    config: ModelConfig
    end_token_ids: tuple[int, ...]
    generation_defaults: Mapping[str, object]
    manifest: Mapping[str, object] | None
    weight_files: tuple[Path, ...]
    size_bytes: int


def read_artifact(directory: Path, *, verify: bool = True) -> Artifact:
    """Read a model folder and check that it can be served; no weights are loaded.

    Checks the configuration, every safetensors header, names, shapes and types of all tensors,
    that the tokenizer fits the embedding, and the sizes of all files that a manifest records.

    Args:
        directory: One of our artifacts, or a Hugging Face Llama folder.
        verify: Hash every file and compare with the manifest, where there is one.

    Raises:
        ArtifactError: The folder is damaged, incomplete, unsafe or not implemented; one line.
    """
    if not directory.is_dir():
        raise ArtifactError(f"{directory}: no such folder")
    manifest = read_manifest(directory)
    if manifest is not None:
        verify_manifest(directory, manifest, hash_files=verify)
    try:
        config = ModelConfig.from_dict(read_json_object(directory / "config.json"))
    except ConfigError as error:
        raise ArtifactError(f"{directory / 'config.json'}: {error}") from error
    weight_files = verify_weight_files(directory, config)
    _check_tokenizer(directory / "tokenizer.json", config)
    generation_file = directory / "generation_config.json"
    generation = read_json_object(generation_file) if generation_file.exists() else {}
    name, version = _identity(directory, manifest or {})
    return Artifact(
        directory=directory,
        name=name,
        version=version,
        config=config,
        end_token_ids=_end_token_ids(config, generation, generation_file),
        generation_defaults=generation,
        manifest=manifest,
        weight_files=weight_files,
        size_bytes=sum(path.stat().st_size for path in weight_files),
    )


def _end_token_ids(
    config: ModelConfig, generation: Mapping[str, object], path: Path
) -> tuple[int, ...]:
    try:
        also = token_ids(generation, "eos_token_id")
    except ConfigError as error:
        raise ArtifactError(f"{path}: {error}") from error
    for token_id in also:
        if not 0 <= token_id < config.vocab_size:
            raise ArtifactError(
                f"{path}: eos_token_id must lie in 0..{config.vocab_size - 1} "
                f"(vocab_size {config.vocab_size}), got {token_id}"
            )
    return tuple(dict.fromkeys((*config.eos_token_ids, *also)))


def _identity(directory: Path, manifest: Mapping[str, object]) -> tuple[str, str]:
    """Name and version: the place in a store decides, since folders get copied and renamed."""
    place = directory.resolve()
    if VERSION_PATTERN.fullmatch(place.name) and NAME_PATTERN.fullmatch(place.parent.name):
        return place.parent.name, place.name
    name, version = manifest.get("name"), manifest.get("version")
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", place.name).strip("-._")[:64] or "model"
    if not isinstance(version, str) or not VERSION_PATTERN.fullmatch(version):
        version = "0"
    return name, version


def _check_tokenizer(path: Path, config: ModelConfig) -> None:
    """Refuse a tokenizer whose ids reach beyond the embedding."""
    if not path.exists():
        return
    tokenizer = read_json_object(path)
    malformed = ArtifactError(f"{path}: not a tokenizer with a vocabulary")
    model = tokenizer.get("model")
    added: object = tokenizer.get("added_tokens", [])
    if not isinstance(model, dict) or not isinstance(added, list):
        raise malformed
    ids: list[object] = []
    vocabulary = cast("dict[str, object]", model).get("vocab")
    if isinstance(vocabulary, dict):
        ids += cast("dict[str, object]", vocabulary).values()
    elif isinstance(vocabulary, list):
        # A unigram model lists its pieces; their positions are the ids.
        ids.append(len(cast("list[object]", vocabulary)) - 1)
    else:
        raise malformed
    for token in cast("list[object]", added):
        if not isinstance(token, dict):
            raise malformed
        ids.append(cast("dict[str, object]", token).get("id"))
    if not all(isinstance(i, int) for i in ids):
        raise malformed
    highest = max(cast("list[int]", ids), default=-1)
    if highest >= config.vocab_size:
        raise ArtifactError(
            f"{path}: token id {highest} does not fit vocab_size {config.vocab_size} of config.json"
        )
