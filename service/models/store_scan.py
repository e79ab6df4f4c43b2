"""What lies in a model store: names, versions, and what the file `current` says. Torch-free.

It reads no artifact; whether a version can be served is found out by `model_store`.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from model.artifact import ArtifactError
from model.store import list_names, list_versions, resolve_version
from service.models.model_store import StoreError

__all__ = ["Signature", "StoredName", "folder_signature", "scan_store"]

_logger = logging.getLogger(__name__)

CURRENT_FILE = "current"

# Names, sizes and times of a folder's files: while it stays the same, so does the verdict on them.
Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredName:
    """One name of a store.

    Attributes:
        directory: ROOT/NAME.
        versions: Oldest first; at least one, unless the folder cannot be read.
        current: What the file ``current`` says, None where there is none or it says nothing good.
        fault: What is wrong with that file or with the folder, None where nothing is.
    """

    name: str
    directory: Path
    versions: tuple[str, ...]
    current: str | None
    fault: str | None

    @property
    def candidates(self) -> tuple[str, ...]:
        """Versions to try at the start: the one that is asked for, then those before it, newest
        first. Those after it were passed over by somebody's decision.
        """
        newest_first = self.versions[::-1]
        if self.current is None:
            return newest_first
        return tuple(v for v in newest_first if int(v) <= int(self.current))

    def wanted(self, serving: str) -> tuple[str, ...]:
        """Versions to try instead of the one that is served, newest first; none while it is right.

        Where what is wanted cannot be told, what is served stays.
        """
        if self.fault is not None:
            return ()
        if self.current is not None:
            return () if self.current == serving else (self.current,)
        newer = self.versions[::-1]
        if serving in newer:
            newer = newer[: newer.index(serving)]
        return tuple(v for v in newer if _is_newer(v, serving))


def scan_store(root: Path) -> dict[str, StoredName]:
    """All names of a store, those included that cannot be read; one just leaving is left out.

    Raises:
        StoreError: The folder cannot be read.
    """
    try:
        names = list_names(root)
    except (ArtifactError, OSError) as error:
        raise StoreError(str(error)) from None
    found: dict[str, StoredName] = {}
    for name in names:
        directory = root / name
        try:
            found[name] = _scan_name(name, directory)
        except (ArtifactError, OSError) as error:
            fault = _in_words(error, directory)
            if os.path.exists(directory):
                # Kept with its fault, which is said once and shown to clients, and what is
                # served of it does not count as having left.
                found[name] = StoredName(
                    name=name, directory=directory, versions=(), current=None, fault=fault
                )
            else:
                _logger.error("%s is passed over: %s", name, fault)
    return found


def folder_signature(directory: Path) -> Signature:
    """Names, sizes and times of change of everything below a folder; empty where it is gone.

    What vanishes or cannot be read while it is looked at is left out: the signature changes then.
    """
    entries: list[tuple[str, int, int]] = []
    # Unlike Path.rglob it goes on where a folder is gone before it was opened.
    for place, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            try:
                status = os.stat(path)
            except OSError:
                continue
            entries.append((path, status.st_size, status.st_mtime_ns))
    return tuple(sorted(entries))


def _scan_name(name: str, directory: Path) -> StoredName:
    versions = list_versions(directory)
    current: str | None = None
    fault: str | None = None
    path = directory / CURRENT_FILE
    if path.exists() or path.is_symlink():
        try:
            current = resolve_version(directory)
        except ArtifactError as error:
            fault = _in_words(error, directory)
    return StoredName(
        name=name, directory=directory, versions=versions, current=current, fault=fault
    )


def _in_words(error: ArtifactError | OSError, directory: Path) -> str:
    """An error without the place of the store: clients see it too."""
    if isinstance(error, OSError):
        return f"{directory.name}: {error.strerror or 'cannot be read'}"
    return str(error).replace(f"{directory}/", "").replace(str(directory), directory.name)


def _is_newer(version: str, than: str) -> bool:
    # A folder served by --model may have a version that is no number of a store.
    return not than.isdecimal() or int(version) > int(than)
