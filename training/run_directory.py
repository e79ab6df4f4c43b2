"""The folder ROOT/NAME/run/ of a training run: its one owner, its files, its settings.

Opening it finds what would end a run hours later: a second trainer, a folder of another kind, a
read-only or full disk.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from model.artifact_error import ArtifactError
from model.durable_files import (
    discard_directory,
    make_directories,
    remove_empty_directories,
    replace_file,
    sweep_work_directories,
    sync_directory,
    work_directory,
    write_file,
)
from model.json_file import read_json_object
from training.preflight import (
    RUN_FOLDER,
    RunDirectoryError,
    refuse_other_kinds,
    require_space,
)
from training.run_lock import RunLockError, lock_run

__all__ = ["RunDirectory", "RunDirectoryError", "check_resumable"]

_PREVIOUS_FOLDER = "previous"
_PROBE_BYTES = 1 << 16
_MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """An opened run; `open` makes it, and holds its lock while the ``with`` block lasts.

    Attributes:
        model_directory: ROOT/NAME, where versions are published.
        path: ROOT/NAME/run.
    """

    model_directory: Path
    path: Path

    @property
    def log_path(self) -> Path:
        """One JSON line per event of the run."""
        return self.path / "log.jsonl"

    @property
    def checkpoints_path(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def tokens_path(self) -> Path:
        """Folder of the tokenised corpus."""
        return self.path / "tokens"

    @property
    def settings_path(self) -> Path:
        """What the run was started with, for comparison on resume."""
        return self.path / "settings.json"

    @staticmethod
    @contextmanager
    def open(
        model_directory: Path,
        *,
        announce: Callable[[str], None],
        required_bytes: int = 0,
        command: str | None = None,
    ) -> "Generator[RunDirectory]":
        """Make and lock the run folder of a model, and check that a run can end there.

        Args:
            model_directory: ROOT/NAME, as the user gives it to ``--out``.
            announce: Told when the lock of a killed run is taken over.
            required_bytes: Estimated size of everything the run will write.
            command: Shown to whoever tries to start a second run; None for this process's own.

        Raises:
            RunDirectoryError: Another process trains there, a file or a folder of another kind is
                in the way, or the disk is read-only or too full. Nothing new is left behind.
        """
        model_directory = model_directory.absolute()
        refuse_other_kinds(model_directory)
        require_space(model_directory, required_bytes)
        path = model_directory / RUN_FOLDER
        created: list[Path] = []
        with ExitStack() as stack:
            # A run that ended before it wrote anything leaves no folder that it made.
            stack.callback(remove_empty_directories, created)
            try:
                created += make_directories(path)
                line = command or shlex.join(sys.argv)
                stack.enter_context(lock_run(path, announce=announce, command=line))
                sweep_work_directories(path)
                with work_directory(path) as work:
                    write_file(work / "probe", [bytes(_PROBE_BYTES)])
            except RunLockError as error:
                raise RunDirectoryError(str(error)) from error
            except OSError as error:
                reason = error.strerror or str(error)
                raise RunDirectoryError(f"{path}: cannot be written: {reason}") from error
            yield RunDirectory(model_directory, path)

    def require_space(self, required_bytes: int) -> None:
        """Check once more, when the model's size is known, that the run can end here.

        Raises:
            RunDirectoryError: Less is free on the disk; the message gives both figures.
        """
        require_space(self.model_directory, required_bytes)

    def read_settings(self) -> Mapping[str, object] | None:
        """What the run was started with, None when it has not recorded it yet.

        Raises:
            RunDirectoryError: The file is damaged.
        """
        if not self.settings_path.exists():
            return None
        try:
            return read_json_object(self.settings_path)
        except ArtifactError as error:
            raise RunDirectoryError(str(error)) from error

    def record_settings(self, settings: Mapping[str, object]) -> None:
        """Record settings and fingerprints of corpus and tokenizer, replacing older ones.

        Raises:
            RunDirectoryError: The disk refused it.
        """
        text = json.dumps(settings, indent=2, sort_keys=True, allow_nan=False) + "\n"
        try:
            replace_file(self.settings_path, text.encode("utf-8"))
        except OSError as error:
            raise RunDirectoryError(f"{self.settings_path}: {error.strerror}") from error

    def set_aside(self) -> Path | None:
        """Move an earlier run's log, settings and checkpoints to run/previous, for a new start.

        An older run/previous is deleted, but only when there are checkpoints to take its place.

        Returns:
            run/previous, or None when there was nothing to move.

        Raises:
            RunDirectoryError: The disk refused it.
        """
        # Checkpoints first: after a kill in between, a second call must not delete them.
        present = [
            path
            for path in (self.checkpoints_path, self.settings_path, self.log_path)
            if path.exists()
        ]
        if not present:
            return None
        previous = self.path / _PREVIOUS_FOLDER
        try:
            if self.checkpoints_path in present and previous.exists():
                discard_directory(previous)
            make_directories(previous)
            for path in present:
                os.rename(path, previous / path.name)
                sync_directory(previous)
            sync_directory(self.path)
        except OSError as error:
            raise RunDirectoryError(f"{previous}: {error.strerror}") from error
        return previous


def check_resumable(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Compare the settings of a run with those it is to be resumed with.

    Args:
        old: What `RunDirectory.read_settings` gives.
        new: What would be recorded now; nested mappings and sequences are JSON.

    Returns:
        One line for each difference, naming the setting and both values; empty when equal.
    """
    before, now = _leaves(old), _leaves(new)
    differences: list[str] = []
    for key in sorted(before.keys() | now.keys()):
        if key not in before:
            differences.append(f"{key}: now {_shown(now[key])}, not set before")
        elif key not in now:
            differences.append(f"{key}: was {_shown(before[key])}, not set now")
        elif before[key] != now[key]:
            differences.append(f"{key}: was {_shown(before[key])}, now {_shown(now[key])}")
    return differences


def _leaves(values: Mapping[str, object]) -> dict[str, str]:
    """Leaves by dotted key, as JSON text, in which a tuple equals the list that it became."""
    leaves: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            inner = _leaves(cast("Mapping[str, object]", value))
            leaves |= {f"{key}.{name}": text for name, text in inner.items()}
        else:
            leaves[key] = json.dumps(value)
    return leaves


def _shown(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
