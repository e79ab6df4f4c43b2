"""One owner per run folder: a kernel lock with a record of who holds it.

The kernel frees the lock when its process ends, however it ends; the record then only tells the
next owner whom it follows.
"""

import fcntl
import json
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

__all__ = ["LOCK_FILE", "RunLockError", "lock_run"]

LOCK_FILE = "lock"
_MAX_RECORD_BYTES = 1 << 16
_MAX_SHOWN = 300


class RunLockError(RuntimeError):
    """Another process owns the run."""


@contextmanager
def lock_run(path: Path, *, announce: Callable[[str], None], command: str) -> Generator[None]:
    """Own a run folder while the ``with`` block lasts.

    Args:
        path: An existing folder.
        announce: Told when the last owner ended without giving the lock back.
        command: Recorded for whoever is refused meanwhile.

    Raises:
        RunLockError: Another process owns it; the message names process, host, start and command.
        OSError: The lock file cannot be written, or the file system has no locks.
    """
    lock = path / LOCK_FILE
    existed, descriptor = lock.exists(), _open_locked(lock)
    try:
        if last_owner := _describe(descriptor):
            announce(f"{path}: taking over from {last_owner}, which ended without closing its run")
        _record(descriptor, command)
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            # A folder in which nothing happened is given back as it was.
            if not existed and [entry.name for entry in path.iterdir()] == [LOCK_FILE]:
                lock.unlink()
        os.close(descriptor)


def _open_locked(lock: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last owner may have removed the file between our opening and our locking it.
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        except BlockingIOError:
            owner = _describe(descriptor) or "another process"
            os.close(descriptor)
            raise RunLockError(f"{lock.parent}: in use by {owner}") from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _record(descriptor: int, command: str) -> None:
    record = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
    }
    # In place: a renamed file would carry a lock of its own.
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(record).encode("ascii"), 0)
    os.fsync(descriptor)


def _describe(descriptor: int) -> str:
    """The recorded owner in words; empty when none is recorded."""
    data = os.pread(descriptor, _MAX_RECORD_BYTES, 0)
    if not data:
        return ""
    try:
        record: object = json.loads(data)
    except (ValueError, RecursionError):
        return "another process"
    if not isinstance(record, dict):
        return "another process"
    fields = cast("dict[str, object]", record)
    text = (
        f"process {fields.get('process')} on {fields.get('host')}, "
        f"started {fields.get('started')}: {fields.get('command')}"
    )
    return ascii(text[:_MAX_SHOWN]).strip("'\"")
