"""Checkpoints of a training run: each one complete on the disk or not there at all.

A folder per checkpoint, built under a hidden name and renamed when it is durable; retries when the
disk refuses, deletion of old ones. The caller holds the run's lock: there is one writer.
"""

import errno
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from model.artifact_error import ArtifactError
from model.durable_files import (
    discard_directory,
    make_directories,
    sweep_work_directories,
    sync_directory,
    work_directory,
)
from training.checkpoint_folder import (
    Checkpoint,
    encode_state,
    inspect_folder,
    load_folder,
    write_folder,
)
from training.tensor_file import check_tensors

__all__ = ["Checkpoint", "CheckpointError", "CheckpointStore"]

# The step in eight digits or more; a second save of the same step adds a serial number.
_FOLDER = re.compile(r"(\d{8,18})(?:-([1-9]\d{0,8}))?")
# A full disk may be cleared, a network disk may come back: worth another try.
_TRANSIENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN, errno.ETIMEDOUT})


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, or none of those that are there can be read."""


def _print_warning(line: str) -> None:
    print(line, file=sys.stderr)


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: Holds them; made by the first save.
        keep: How many of the newest stay; the newest best one stays besides.
        announce: Told in one line about every damaged checkpoint and every retry.
        retry_delays_seconds: Pauses between the tries of a save that the disk refuses.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keep: int = 2,
        announce: Callable[[str], None] = _print_warning,
        retry_delays_seconds: Sequence[float] = (1.0, 5.0, 20.0),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if keep < 1:
            raise CheckpointError(f"keep must be at least 1, got {keep}")
        self._directory = directory
        self._keep = keep
        self._announce = announce
        self._retry_delays_seconds = tuple(retry_delays_seconds)
        self._sleep = sleep
        self._announced: set[Path] = set()

    def save(
        self,
        step: int,
        *,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, object],
        is_best: bool,
    ) -> Path:
        """Write a checkpoint durably, then delete those that are no longer needed.

        Args:
            step: Number of finished optimizer steps, at least 0.
            tensors: Parameters, optimizer state, generator states; any device.
            state: Everything else, JSON with text keys and finite numbers.
            is_best: Whether this is the best model so far; it is kept until a better one is saved.

        Returns:
            The new folder.

        Raises:
            CheckpointError: A value is not finite or not storable (nothing was touched), or the
                disk refused every try; the older checkpoints are untouched.
        """
        if not 0 <= step < 10**18:
            raise CheckpointError(f"step must be at least 0, got {step}")
        try:
            encoded = encode_state(step, state, is_best=is_best)
            check_tensors(tensors)
            directory = self._write_with_retries(step, tensors, encoded)
        except ValueError as error:
            raise CheckpointError(f"checkpoint of step {step} is not written: {error}") from error
        self._rotate(newest=directory)
        return directory

    def latest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint, None when none was ever saved.

        Raises:
            CheckpointError: There are checkpoints, and every one is damaged.
        """
        folders = self._folders()
        for directory in reversed(folders):
            checkpoint = self._load_or_announce(directory)
            if checkpoint is not None:
                return checkpoint
        if folders:
            raise CheckpointError(
                f"{self._directory}: none of {len(folders)} checkpoints is undamaged"
            )
        return None

    def best(self) -> Checkpoint | None:
        """The newest undamaged checkpoint that was the best when it was saved, or None."""
        for directory in reversed(self._folders()):
            checkpoint = self._load_or_announce(directory)
            if checkpoint is not None and checkpoint.is_best:
                return checkpoint
        return None

    def go_back_to_best(self) -> int | None:
        """Delete every checkpoint after the best; returns the best one's step, None without one.

        Raises:
            CheckpointError: The disk refused it.
        """
        best = self.best()
        if best is None:
            return None
        for directory in reversed(self._folders()):
            if _position(directory)[0] > best.step:
                try:
                    discard_directory(directory)
                except OSError as error:
                    raise CheckpointError(f"{directory}: {error.strerror}") from error
        return best.step

    def _write_with_retries(self, step: int, tensors: Mapping[str, Tensor], state: bytes) -> Path:
        for delay_seconds in self._retry_delays_seconds:
            try:
                return self._write(step, tensors, state)
            except OSError as error:
                if error.errno not in _TRANSIENT:
                    raise self._refused(step, error) from error
                line = f"{self._refused(step, error)}; next try in {delay_seconds:g} s"
            self._announce(line)
            self._sleep(delay_seconds)
        try:
            return self._write(step, tensors, state)
        except OSError as error:
            raise self._refused(step, error) from error

    def _refused(self, step: int, error: OSError) -> CheckpointError:
        reason = error.strerror or str(error)
        return CheckpointError(
            f"checkpoint of step {step} cannot be written to {self._directory}: {reason}"
        )

    def _write(self, step: int, tensors: Mapping[str, Tensor], state: bytes) -> Path:
        make_directories(self._directory)
        sweep_work_directories(self._directory)
        with work_directory(self._directory) as work:
            write_folder(work, tensors, state)
            directory = self._directory / self._free_name(step)
            os.rename(work, directory)
        sync_directory(self._directory)
        return directory

    def _free_name(self, step: int) -> str:
        """A name no folder has: an existing checkpoint of this step, even damaged, stays whole."""
        serials = [serial for at, serial in map(_position, self._folders()) if at == step]
        return f"{step:08d}" if not serials else f"{step:08d}-{max(serials) + 1}"

    def _rotate(self, *, newest: Path) -> None:
        """Delete what is neither among the newest that look whole, nor the best."""
        num_kept = 0
        is_best_kept = False
        for directory in reversed(self._folders()):
            is_best = inspect_folder(directory)
            keep_as_best = is_best is True and not is_best_kept
            is_best_kept = is_best_kept or keep_as_best
            if directory == newest or num_kept < self._keep:
                num_kept += is_best is not None
            elif not keep_as_best:
                try:
                    discard_directory(directory)
                except OSError as error:
                    self._announce(f"{directory}: cannot be deleted: {error.strerror}")

    def _folders(self) -> list[Path]:
        """Checkpoint folders, oldest first."""
        try:
            found = [p for p in self._directory.iterdir() if _FOLDER.fullmatch(p.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self._directory}: {error.strerror}") from error
        return sorted(found, key=_position)

    def _load_or_announce(self, directory: Path) -> Checkpoint | None:
        try:
            checkpoint = load_folder(directory)
            if checkpoint.step != _position(directory)[0]:
                raise ArtifactError(f"{directory}: holds step {checkpoint.step}")
            return checkpoint
        except (ArtifactError, OSError) as error:
            if directory not in self._announced:
                self._announced.add(directory)
                self._announce(f"damaged checkpoint is skipped: {error}")
            return None


def _position(directory: Path) -> tuple[int, int]:
    match = _FOLDER.fullmatch(directory.name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)
