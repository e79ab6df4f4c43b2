"""Faults at a chosen filesystem operation of this process: death, an error, a power cut.

Every function of `os` through which our code changes files is wrapped and counted, so that a test
can go through all of them. Not a test module; strike_everywhere.py uses it in processes of its own.
"""

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

# Calls that change the disk, or that make a change durable.
CHANGING_CALLS = (
    "open",
    "write",
    "pwrite",
    "ftruncate",
    "fsync",
    "mkdir",
    "rename",
    "replace",
    "unlink",
    "remove",
    "rmdir",
)
# What Python itself reports of changes, to catch one that goes around the wrapped calls.
_AUDITED = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"}


class Fault(StrEnum):
    """What happens at the chosen operation."""

    KILL = "kill"  # SIGKILL before it; in a write, after half of its bytes
    IO_ERROR = "I/O error"  # it fails once with EIO, in a write after half of its bytes
    FULL_DISK = "full disk"  # from there on all that needs space fails with ENOSPC
    POWER_CUT = "power cut"  # the disk keeps only what was flushed, names included
    POWER_CUT_AFTER_NAMES = "power cut after names"  # names are there, unflushed bytes are not


class FaultyFilesystem:
    """Wraps the calls of `os` in this process, for good.

    Args:
        root: Calls on other paths, such as the interpreter's own, are left alone.
        fault: What happens.
        at: Zero-based number of the operation where it happens.
    """

    def __init__(self, root: Path, *, fault: Fault, at: int) -> None:
        self.num_operations = 0
        self.has_struck = False
        self.num_unseen_changes = 0
        self._root = str(root)
        self._fault = fault
        self._at = at
        self._is_inside = False
        self._open_paths: dict[int, str] = {}
        self._unflushed = UnflushedState(root)
        for name in CHANGING_CALLS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        sys.addaudithook(self._audit)

    def _wrapped(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def operate(*arguments: object, **options: object) -> object:
            path = self._path(arguments, options)
            if self._is_inside or not path.startswith(self._root):
                return call(*arguments, **options)
            self._is_inside = True
            try:
                self._strike(name, call, arguments)
                before = self._unflushed.before(name, arguments)
                result = call(*arguments, **options)
                self._unflushed.after(name, arguments, before)
                if name == "open":
                    self._open_paths[cast("int", result)] = path
                return result
            finally:
                self._is_inside = False

        return operate

    def _strike(
        self, name: str, call: Callable[..., object], arguments: tuple[object, ...]
    ) -> None:
        number, self.num_operations = self.num_operations, self.num_operations + 1
        if self._fault is Fault.FULL_DISK:
            if number < self._at or not _needs_space(name, arguments):
                return
        elif number != self._at:
            return
        self.has_struck = True
        if name == "write" and number == self._at:
            descriptor, data = arguments[0], memoryview(cast("bytes", arguments[1]))
            call(descriptor, data[: len(data) // 2])
        match self._fault:
            case Fault.IO_ERROR:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            case Fault.FULL_DISK:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case Fault.POWER_CUT | Fault.POWER_CUT_AFTER_NAMES:
                self._unflushed.lose(names=self._fault is Fault.POWER_CUT)
            case Fault.KILL:
                pass
        os.kill(os.getpid(), signal.SIGKILL)

    def _path(self, arguments: tuple[object, ...], options: dict[str, object]) -> str:
        """What a call is about: its path, or that of its descriptor."""
        first, folder = arguments[0], options.get("dir_fd")
        if isinstance(first, int):
            return self._open_paths.get(first, "")
        if isinstance(folder, int):
            return os.path.join(self._open_paths.get(folder, ""), cast("str", first))
        return os.path.abspath(cast("str", first))

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._is_inside or not arguments or not isinstance(arguments[0], str | os.PathLike):
            return
        if not os.path.abspath(cast("str", arguments[0])).startswith(self._root):
            return
        writes = event == "open" and (cast("int", arguments[2]) & (os.O_WRONLY | os.O_RDWR)) != 0
        self.num_unseen_changes += writes or event in _AUDITED


@dataclass(frozen=True)
class _NewName:
    """A name in a folder that was not flushed yet; ``old`` is where a renamed one comes from."""

    folder: int  # inode, since the folder itself may be renamed
    name: str
    old: tuple[int, str] | None


class UnflushedState:
    """What a power cut may take: bytes of unflushed files, names in unflushed folders."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._dirty_files: set[int] = set()
        self._names: list[_NewName] = []

    def before(self, name: str, arguments: tuple[object, ...]) -> tuple[bool, tuple[int, str]]:
        """Whether the new name exists already, and the old place of what is renamed."""
        match name:
            case "open" | "mkdir":
                return os.path.lexists(cast("str", arguments[0])), (0, "")
            case "rename" | "replace":
                return os.path.lexists(cast("str", arguments[1])), _place(arguments[0])
            case _:
                return True, (0, "")

    def after(
        self, name: str, arguments: tuple[object, ...], before: tuple[bool, tuple[int, str]]
    ) -> None:
        """Take note of an operation that has succeeded."""
        existed, old = before
        match name:
            case "open" | "mkdir" if not existed:
                self._names.append(_NewName(*_place(arguments[0]), None))
            # Replacing an existing file is one step on the disks that we know: old or new content.
            case "rename" | "replace" if not existed:
                self._names.append(_NewName(*_place(arguments[1]), old))
            case "write" | "pwrite" | "ftruncate":
                self._dirty_files.add(os.fstat(cast("int", arguments[0])).st_ino)
            case "fsync":
                inode = os.fstat(cast("int", arguments[0])).st_ino
                self._dirty_files.discard(inode)
                self._names = [new for new in self._names if new.folder != inode]
            case _:
                pass

    def lose(self, *, names: bool) -> None:
        """Halve every unflushed file and, if asked, undo every name that was not flushed."""
        for path in [p for p in self._root.rglob("*") if p.is_file()]:
            if path.stat().st_ino in self._dirty_files:
                os.truncate(path, path.stat().st_size // 2)
        for new in reversed(self._names if names else []):
            folder = self._find(new.folder)
            if folder is None or not (folder / new.name).exists():
                continue
            path = folder / new.name
            old_folder = None if new.old is None else self._find(new.old[0])
            if new.old is not None and old_folder is not None:
                path.rename(old_folder / new.old[1])
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _find(self, inode: int) -> Path | None:
        folders = (p for p in self._root.rglob("*") if p.is_dir() and p.stat().st_ino == inode)
        return self._root if self._root.stat().st_ino == inode else next(folders, None)


def _needs_space(name: str, arguments: tuple[object, ...]) -> bool:
    if name == "open":
        return bool(cast("int", arguments[1]) & os.O_CREAT)
    return name not in {"unlink", "remove", "rmdir"}


def _place(path: object) -> tuple[int, str]:
    absolute = Path(os.path.abspath(cast("str", path)))
    return absolute.parent.stat().st_ino, absolute.name
