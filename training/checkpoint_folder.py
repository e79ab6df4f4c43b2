"""The folder of one checkpoint: what lies in it, writing it, and reading it back verified.

tensors.safetensors, state.json, and manifest.json with the SHA-256 of both, written last. No
pickle. Knows nothing of other checkpoints.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from model.artifact_error import ArtifactError
from model.durable_files import FileDigest, digest_file, sync_directory, write_file
from model.json_file import MAX_JSON_BYTES, parse_json_object, read_json_object
from training.tensor_file import TensorFile, tensor_file_chunks

__all__ = ["Checkpoint", "encode_state", "inspect_folder", "load_folder", "write_folder"]

_TENSORS_FILE = "tensors.safetensors"
_STATE_FILE = "state.json"
_MANIFEST_FILE = "manifest.json"
_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One verified checkpoint.

    Attributes:
        directory: Its folder.
        step: Number of finished optimizer steps.
        is_best: Whether it was the best so far when it was saved.
        tensors: Read one by one when they are accessed, to CPU memory.
        state: What was given to `CheckpointStore.save`, as JSON gives it back (tuples are lists).
    """

    directory: Path
    step: int
    is_best: bool
    tensors: Mapping[str, Tensor]
    state: Mapping[str, object]


def encode_state(step: int, state: Mapping[str, object], *, is_best: bool) -> bytes:
    """Content of state.json.

    Raises:
        ValueError: A value that JSON has not (NaN and Infinity among them), two keys that become
            one, or more than can be read back.
    """
    values = {"step": step, "is_best": is_best, "state": state}
    try:
        encoded = json.dumps(values, allow_nan=False, indent=1).encode("ascii")
    except (TypeError, RecursionError) as error:
        raise ValueError(f"state: {error}") from error
    if len(encoded) > MAX_JSON_BYTES:
        raise ValueError(f"state of {len(encoded)} bytes, the limit is {MAX_JSON_BYTES}")
    # What cannot be read back strictly must not replace a checkpoint that can.
    parse_json_object(encoded, source=Path(_STATE_FILE))
    return encoded


def write_folder(directory: Path, tensors: Mapping[str, Tensor], state: bytes) -> None:
    """Fill an empty folder and flush it, the manifest last.

    Raises:
        OSError: The disk refused it.
        ValueError: More tensors or longer names than a safetensors header may hold.
    """
    files = {
        _TENSORS_FILE: write_file(directory / _TENSORS_FILE, tensor_file_chunks(tensors)),
        _STATE_FILE: write_file(directory / _STATE_FILE, [state]),
    }
    manifest = {
        "format_version": _FORMAT_VERSION,
        "files": {name: asdict(digest) for name, digest in files.items()},
    }
    write_file(directory / _MANIFEST_FILE, [json.dumps(manifest, indent=2).encode("ascii")])
    sync_directory(directory)


def load_folder(directory: Path) -> Checkpoint:
    """Verify every byte of a checkpoint and open it.

    Raises:
        ArtifactError: A file is missing, damaged or of another checkpoint.
        OSError: A file cannot be read.
    """
    for name, digest in _recorded_digests(directory).items():
        if digest_file(directory / name) != digest:
            raise ArtifactError(f"{directory / name}: its SHA-256 differs from {_MANIFEST_FILE}")
    step, is_best, state = _read_state(directory)
    return Checkpoint(directory, step, is_best, TensorFile(directory / _TENSORS_FILE), state)


def inspect_folder(directory: Path) -> bool | None:
    """Whether it is a best checkpoint, None when it is visibly damaged; tensors are not read."""
    try:
        for name, digest in _recorded_digests(directory).items():
            if (directory / name).stat().st_size != digest.size:
                return None
        return _read_state(directory)[1]
    except (ArtifactError, OSError):
        return None


def _read_state(directory: Path) -> tuple[int, bool, Mapping[str, object]]:
    path = directory / _STATE_FILE
    values = read_json_object(path)
    step, is_best, state = values.get("step"), values.get("is_best"), values.get("state")
    if isinstance(step, bool) or not isinstance(step, int) or not isinstance(is_best, bool):
        raise ArtifactError(f"{path}: step or is_best is malformed")
    if not isinstance(state, dict):
        raise ArtifactError(f"{path}: holds no state")
    return step, is_best, cast("dict[str, object]", state)


def _recorded_digests(directory: Path) -> dict[str, FileDigest]:
    path = directory / _MANIFEST_FILE
    manifest = read_json_object(path)
    if manifest.get("format_version") != _FORMAT_VERSION:
        raise ArtifactError(f"{path}: format_version must be {_FORMAT_VERSION}")
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ArtifactError(f"{path}: records no files")
    digests: dict[str, FileDigest] = {}
    for name in (_TENSORS_FILE, _STATE_FILE):
        match cast("dict[str, object]", files).get(name):
            case {"sha256": str(sha256), "size": int(size)}:
                digests[name] = FileDigest(sha256, size)
            case _:
                raise ArtifactError(f"{path}: records no digest of {name}")
    return digests
