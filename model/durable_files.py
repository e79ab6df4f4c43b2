"""Writing files and folders so that a killed process or a power cut never leaves half of one.

A folder is built under a hidden name, every file and the folder itself are flushed, and one
rename makes it visible. Knows bytes and folders only, not what they mean.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "FileDigest",
    "digest_file",
    "discard_directory",
    "make_directories",
    "remove_empty_directories",
    "replace_file",
    "sweep_work_directories",
    "sync_directory",
    "sync_file",
    "work_directory",
    "write_file",
]

_WORK_PREFIX = ".work-"
_CHUNK_BYTES = 1 << 20
# Linux cuts a single write at 2 GiB; smaller pieces also keep an interrupt responsive.
_MAX_WRITE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a manifest records of a file: SHA-256 in lower-case hexadecimal and size in bytes."""

    sha256: str
    size: int


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> FileDigest:
    """Create a file from chunks of bytes, flushed to the disk before this returns.

    Returns:
        The digest of the bytes as handed in, so that a later read checks the disk as well.

    Raises:
        OSError: The file exists, or it cannot be written to the end.
    """
    digest = hashlib.sha256()
    size = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            digest.update(view)
            size += len(view)
            while view:
                view = view[os.write(descriptor, view[:_MAX_WRITE_BYTES]) :]
        _flush(descriptor)
    finally:
        os.close(descriptor)
    return FileDigest(digest.hexdigest(), size)


def digest_file(path: Path) -> FileDigest:
    """Hash a file as it lies on the disk.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(digest.hexdigest(), size)


def replace_file(path: Path, data: bytes) -> None:
    """Give a file new content in one step: a reader sees all of the old or all of the new.

    Raises:
        OSError: The new content could not be made durable; the old one is untouched.
    """
    with work_directory(path.parent) as work:
        write_file(work / path.name, [data])
        os.rename(work / path.name, path)
    sync_directory(path.parent)


def make_directories(path: Path) -> list[Path]:
    """Create a folder and its missing parents durably.

    Returns:
        The folders that did not exist before, outermost first.

    Raises:
        OSError: One of them cannot be made, or something else lies in its place; none is left.
    """
    missing: list[Path] = []
    probe = path
    while not probe.is_dir() and probe != probe.parent:
        missing.insert(0, probe)
        probe = probe.parent
    created: list[Path] = []
    try:
        for directory in missing:
            try:
                os.mkdir(directory)
            except FileExistsError:
                # Made by another process since we looked, or a file lies there.
                if not directory.is_dir():
                    raise
            else:
                created.append(directory)
                sync_directory(directory.parent)
    except BaseException:
        remove_empty_directories(created)
        raise
    return created


def remove_empty_directories(created: list[Path]) -> None:
    """Take back what `make_directories` made, as far as nothing lies in it."""
    for directory in reversed(created):
        with suppress(OSError):
            os.rmdir(directory)


@contextmanager
def work_directory(parent: Path) -> Generator[Path]:
    """A hidden folder to build something in, gone at the end unless it was renamed away.

    It stays locked while it is in use, so that `sweep_work_directories` of another process
    takes away only what a killed process left behind.

    Raises:
        OSError: The folder cannot be made.
    """
    path, descriptor = _make_locked_directory(parent)
    try:
        yield path
    finally:
        # What cannot be removed now (a failing disk) is left to the next sweep.
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def sweep_work_directories(parent: Path) -> None:
    """Remove the work folders in ``parent`` that no living process uses."""
    try:
        entries = list(parent.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(_WORK_PREFIX) and entry.is_dir() and not entry.is_symlink():
            with suppress(OSError):
                descriptor = _lock_directory(entry)
                try:
                    shutil.rmtree(entry, ignore_errors=True)
                finally:
                    os.close(descriptor)


def discard_directory(path: Path) -> None:
    """Delete a folder so that it is never seen half deleted: it loses its name first.

    Raises:
        OSError: The folder could not be renamed; it is still whole.
    """
    doomed = path.with_name(f"{_WORK_PREFIX}{secrets.token_hex(8)}")
    os.rename(path, doomed)
    # Otherwise a power cut could bring the name back with files already missing; a reader would
    # pass over that, so a disk that refuses the flush does not keep the folder.
    with suppress(OSError):
        sync_directory(path.parent)
    shutil.rmtree(doomed, ignore_errors=True)


def sync_file(path: Path) -> None:
    """Flush a file that somebody else has written.

    Raises:
        OSError: The disk did not take it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Flush a folder's list of names: creations and renames in it survive a power cut.

    Raises:
        OSError: The disk did not take it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":
        # There fsync leaves the data in the drive's own cache. Network folders lack the stronger
        # call, and then the ordinary one below decides.
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def _make_locked_directory(parent: Path) -> tuple[Path, int]:
    while True:
        path = parent / f"{_WORK_PREFIX}{secrets.token_hex(8)}"
        os.mkdir(path)
        try:
            return path, _lock_directory(path)
        except (BlockingIOError, FileNotFoundError):
            # A sweep took the folder between its making and its locking: make another.
            continue
        except OSError:
            with suppress(OSError):
                os.rmdir(path)
            raise


def _lock_directory(path: Path) -> int:
    """Open and lock a folder; BlockingIOError when in use, FileNotFoundError when replaced."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
