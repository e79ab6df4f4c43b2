"""manifest.json: what an artifact folder was published as, and the digest of each of its files.

A folder with a manifest is whole and unmixed when every listed file has its recorded SHA-256
and nothing that a loader would read lies beside them unlisted.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from model.artifact_error import ArtifactError
from model.durable_files import FileDigest, digest_file, sync_directory, sync_file, write_file
from model.json_file import read_json_object
from model.weight_files import PICKLE_SUFFIXES

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_FILE",
    "RESERVED_KEYS",
    "digest_directory",
    "read_manifest",
    "verify_manifest",
    "write_manifest",
]

MANIFEST_FILE = "manifest.json"
FORMAT_VERSION = 1
# What publishing itself writes; a caller adds its own facts beside them.
RESERVED_KEYS = frozenset({"format_version", "name", "version", "created", "files"})

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOADED_SUFFIXES = frozenset({".json", ".safetensors", ".npy", ".model", ".jinja"})


def write_manifest(directory: Path, values: Mapping[str, object]) -> None:
    """Write the manifest, flushed, in place of an earlier one of an unpublished folder.

    Raises:
        OSError: It cannot be written.
        ValueError: A value is not JSON.
    """
    path = directory / MANIFEST_FILE
    path.unlink(missing_ok=True)
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    write_file(path, [text.encode("utf-8")])


def read_manifest(directory: Path) -> dict[str, object] | None:
    """The manifest of a folder, None where it has none.

    Raises:
        ArtifactError: It is malformed, or of a format that this program does not know.
    """
    path = directory / MANIFEST_FILE
    if not path.exists() and not path.is_symlink():
        return None
    manifest = read_json_object(path)
    version = manifest.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ArtifactError(f"{path}: format_version must be an integer of at least 1")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format_version {version} is newer than {FORMAT_VERSION}, "
            "the newest that this program reads"
        )
    _recorded_files(path, manifest)
    return manifest


def verify_manifest(directory: Path, manifest: Mapping[str, object], *, hash_files: bool) -> None:
    """Compare a folder with its manifest: presence and sizes, and every byte if asked.

    Raises:
        ArtifactError: A file is missing, of another size or content, or not in the manifest.
    """
    recorded = _recorded_files(directory / MANIFEST_FILE, manifest)
    root = directory.resolve()
    for name, expected in recorded.items():
        path = directory / name
        try:
            if not path.resolve().is_relative_to(root):
                raise ArtifactError(f"{path}: a link that leaves the folder")
            size = path.stat().st_size
            if size != expected.size:
                raise ArtifactError(
                    f"{path}: {size} bytes, but {MANIFEST_FILE} says {expected.size}"
                )
            if hash_files and digest_file(path) != expected:
                raise ArtifactError(f"{path}: its SHA-256 differs from {MANIFEST_FILE}")
        except OSError as error:
            raise ArtifactError(f"{path}: {error.strerror or 'cannot be read'}") from error
    for path in _files_below(directory):
        name = path.relative_to(directory).as_posix()
        if path.suffix in _LOADED_SUFFIXES and name not in recorded and name != MANIFEST_FILE:
            raise ArtifactError(f"{path}: not listed in {MANIFEST_FILE}")


def digest_directory(directory: Path) -> dict[str, FileDigest]:
    """Flush and hash every file of a folder that is about to be published.

    Returns:
        Digests by path relative to ``directory``, with forward slashes, sorted.

    Raises:
        ArtifactError: A pickle, a link or a special file is among them.
        OSError: A file cannot be read or flushed.
    """
    digests: dict[str, FileDigest] = {}
    for path in sorted(_files_below(directory)):
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{path}: only plain files can be published")
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise ArtifactError(f"{path}: pickles are never published")
        sync_file(path)
        digests[path.relative_to(directory).as_posix()] = digest_file(path)
    for path in directory.rglob("*"):
        if path.is_dir():
            sync_directory(path)
    return digests


def _files_below(directory: Path) -> Iterator[Path]:
    """Everything below that is not a folder; links are not followed."""
    return (p for p in directory.rglob("*") if p.is_symlink() or not p.is_dir())


def _recorded_files(path: Path, manifest: Mapping[str, object]) -> dict[str, FileDigest]:
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise ArtifactError(f"{path}: files must record the digest of each file")
    recorded: dict[str, FileDigest] = {}
    for name, value in cast("dict[str, object]", files).items():
        digest = _digest(value)
        if digest is None or not _is_safe_path(name):
            raise ArtifactError(f"{path}: an entry of files is malformed")
        recorded[name] = digest
    return recorded


def _digest(value: object) -> FileDigest | None:
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, object]", value)
    sha256, size = fields.get("sha256"), fields.get("size")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        return None
    return FileDigest(sha256, size)


def _is_safe_path(name: str) -> bool:
    """Whether a recorded path stays inside the folder and names no pickle."""
    parts = name.split("/")
    return (
        0 < len(name) <= 1024
        and not set(name) & set("\\\0")
        and all(part not in {"", ".", ".."} for part in parts)
        and Path(name).suffix.lower() not in PICKLE_SUFFIXES
        and name != MANIFEST_FILE
    )
