"""The model store: a folder ROOT/NAME/VERSION/ of artifacts, with VERSION = 1, 2, ...

A small file ROOT/NAME/current may say which version is served. Publishing adds a version by one
rename and never touches an older one. What clients say is only looked up, never made a path.
"""

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from model.artifact import NAME_PATTERN, VERSION_PATTERN, read_artifact
from model.artifact_error import ArtifactError
from model.durable_files import (
    make_directories,
    replace_file,
    sweep_work_directories,
    sync_directory,
    work_directory,
)
from model.manifest import FORMAT_VERSION, RESERVED_KEYS, digest_directory, write_manifest
from model.weight_files import has_non_finite

__all__ = [
    "check_name",
    "list_names",
    "list_versions",
    "locate",
    "point_current",
    "publish",
    "resolve_version",
]

_RESERVED_NAMES = frozenset({"run", "current"})
_CURRENT_FILE = "current"
_MAX_CURRENT_BYTES = 64
# rename onto a version that another publisher has just taken fails with one of these.
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


def publish(
    name_directory: Path, write: Callable[[Path], object], *, manifest: Mapping[str, object]
) -> Path:
    """Add a version to a name of a store; it appears complete or not at all.

    Args:
        name_directory: ROOT/NAME; made when it is missing.
        write: Fills the folder it is given with the artifact's files, all but the manifest.
        manifest: Facts to record beside format version, name, version, time and digests:
            corpus and tokenizer hashes, training summary, parent.

    Returns:
        The new ROOT/NAME/VERSION, one above the highest there. Concurrent publishers get
        different versions.

    Raises:
        ArtifactError: What was written is not a readable artifact or holds a value that is not
            finite, or the disk refused it; nothing remains.
        ValueError: ``manifest`` uses a key of ours or a value that is not JSON.
    """
    check_name(name_directory.name)
    if clash := sorted(RESERVED_KEYS & manifest.keys()):
        raise ValueError(f"manifest key {clash[0]!r} is written by publish itself")
    try:
        make_directories(name_directory)
        sweep_work_directories(name_directory)
        with work_directory(name_directory) as work:
            write(work)
            for path in read_artifact(work, verify=False).weight_files:
                if has_non_finite(path):
                    raise ArtifactError(f"{path.name}: holds a value that is not finite")
            published = _rename_to_next_version(work, name_directory, manifest)
        sync_directory(name_directory)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(f"{name_directory}: cannot publish: {reason}") from error
    return published


def check_name(name: str) -> None:
    """Refuse what cannot be a model's name.

    Raises:
        ArtifactError: Not letters, digits, '.', '_', '-' (at most 64, starting with a letter or
            digit), or a name that a store needs for itself.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ArtifactError(
            f"model name {name[:80]!a}: must be 1 to 64 letters, digits, '.', '_' or '-', "
            "starting with a letter or digit"
        )
    if name.lower() in _RESERVED_NAMES or VERSION_PATTERN.fullmatch(name):
        raise ArtifactError(f"model name {name!r}: reserved inside a model store")


def list_names(root: Path) -> tuple[str, ...]:
    """Names in a store that have at least one version or cannot be looked into, sorted.

    What a name alone is at fault for does not hide the others; `list_versions` says it.

    Raises:
        ArtifactError: ``root`` is not a readable folder.
    """
    names = [name for name in _folders_in(root) if NAME_PATTERN.fullmatch(name)]
    return tuple(sorted(name for name in names if _may_have_versions(root / name)))


def list_versions(name_directory: Path) -> tuple[str, ...]:
    """Versions of a name, oldest first; whether they are readable is not looked at.

    Raises:
        ArtifactError: ``name_directory`` is not a readable folder.
    """
    return tuple(sorted(filter(VERSION_PATTERN.fullmatch, _folders_in(name_directory)), key=int))


def resolve_version(
    name_directory: Path, *, announce: Callable[[str], None] = lambda _: None
) -> str:
    """The version to serve: what the file ``current`` says, else the newest readable one.

    Args:
        name_directory: ROOT/NAME.
        announce: Told about each newer version that is passed over, and why.

    Raises:
        ArtifactError: ``current`` names no version that is there, or no version is readable.
    """
    versions = list_versions(name_directory)
    current = name_directory / _CURRENT_FILE
    if current.exists() or current.is_symlink():
        chosen = _read_current(current)
        if chosen not in versions:
            raise ArtifactError(f"{current}: version {chosen!r} is not in {name_directory}")
        return chosen
    for version in reversed(versions):
        try:
            read_artifact(name_directory / version, verify=False)
        except ArtifactError as error:
            announce(f"version {version} of {name_directory.name} is passed over: {error}")
        else:
            return version
    raise ArtifactError(f"{name_directory}: no readable version")


def point_current(name_directory: Path, version: str | None) -> None:
    """Say which version of a name is served, or with None that it is the newest again.

    Raises:
        ArtifactError: The version is not there, or the file cannot be written.
    """
    current = name_directory / _CURRENT_FILE
    try:
        if version is None:
            current.unlink(missing_ok=True)
            sync_directory(name_directory)
        elif version in list_versions(name_directory):
            replace_file(current, f"{version}\n".encode("ascii"))
        else:
            raise ArtifactError(f"{name_directory}: no version {version[:80]!a}")
    except OSError as error:
        raise ArtifactError(f"{current}: {error.strerror or 'cannot be written'}") from error


def locate(root: Path, name: str, *, version: str | None = None) -> Path:
    """Folder of a model that a client names; both words are only looked up in what is there.

    Args:
        root: The store.
        name: Any text; it never becomes part of a path unless the store lists it.
        version: One of its versions; None for the one that `resolve_version` gives.

    Raises:
        ArtifactError: No such name or version.
    """
    if name not in list_names(root):
        raise ArtifactError(f"no model {name[:80]!a}")
    if version is None:
        return root / name / resolve_version(root / name)
    if version not in list_versions(root / name):
        raise ArtifactError(f"no version {version[:80]!a} of model {name}")
    return root / name / version


def _rename_to_next_version(
    work: Path, name_directory: Path, manifest: Mapping[str, object]
) -> Path:
    files = {name: asdict(digest) for name, digest in digest_directory(work).items()}
    while True:
        # Whatever bears a number counts, a stray file too: its number is not free.
        taken = (int(e.name) for e in name_directory.iterdir() if VERSION_PATTERN.fullmatch(e.name))
        version = str(max(taken, default=0) + 1)
        values: dict[str, object] = {
            "format_version": FORMAT_VERSION,
            "name": name_directory.name,
            "version": version,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **manifest,
            "files": files,
        }
        write_manifest(work, values)
        sync_directory(work)
        try:
            os.rename(work, name_directory / version)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            continue
        return name_directory / version


def _folders_in(directory: Path) -> list[str]:
    """Names of the folders in a folder, without links that lead out of it."""
    try:
        inside = directory.resolve()
        return [
            entry.name
            for entry in directory.iterdir()
            if entry.is_dir() and (not entry.is_symlink() or entry.resolve().parent == inside)
        ]
    except OSError as error:
        raise ArtifactError(f"{directory}: {error.strerror or 'cannot be read'}") from error


def _may_have_versions(name_directory: Path) -> bool:
    try:
        return bool(list_versions(name_directory))
    except ArtifactError:
        return True


def _read_current(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CURRENT_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or 'cannot be read'}") from error
    text = data.decode("ascii", "replace").strip()
    if not VERSION_PATTERN.fullmatch(text):
        raise ArtifactError(f"{path}: must hold one version number")
    return text
