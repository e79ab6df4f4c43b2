"""Looking before a run starts: is the output folder one of ours, and is there room on its disk?

Reads only; nothing is made or changed.
"""

import shutil
from pathlib import Path

from model.artifact import VERSION_PATTERN
from model.artifact_error import ArtifactError
from model.store import check_name
from training.run_lock import LOCK_FILE

__all__ = [
    "RUN_FOLDER",
    "RunDirectoryError",
    "corpus_bytes_needed",
    "model_bytes_needed",
    "refuse_other_kinds",
    "require_space",
]

# A parameter and its two averages, in float32.
_CHECKPOINT_BYTES_PER_PARAMETER = 12
_EXPORT_BYTES_PER_PARAMETER = 4
# Log, tokenizer, n-gram model, report.
_OTHER_BYTES = 32_000_000

RUN_FOLDER = "run"


class RunDirectoryError(ValueError):
    """The output folder cannot be used for this run; the message is one line for the user."""


def refuse_other_kinds(model_directory: Path) -> None:
    """Refuse a path that is no model name of a store, or holds something that is not ours.

    Raises:
        RunDirectoryError: One line that says what is in the way.
    """
    try:
        check_name(model_directory.name)
    except ArtifactError as error:
        raise RunDirectoryError(f"output folder {model_directory}: {error}") from error
    ancestor = _nearest_existing(model_directory)
    if not ancestor.is_dir():
        raise RunDirectoryError(f"output folder {model_directory}: {ancestor} is not a folder")
    if ancestor != model_directory:
        return
    try:
        names = {entry.name for entry in model_directory.iterdir()}
        run = model_directory / RUN_FOLDER
        run_names = {entry.name for entry in run.iterdir()} if run.exists() else set[str]()
    except OSError as error:
        raise RunDirectoryError(f"output folder {error.filename}: {error.strerror}") from error
    if {"config.json", "manifest.json", "model.safetensors"} & names:
        raise RunDirectoryError(
            f"output folder {model_directory}: is itself a model; choose ROOT/NAME, "
            "where each run adds a version"
        )
    if not _all_hidden(run_names) and LOCK_FILE not in run_names:
        raise RunDirectoryError(f"output folder {run}: exists and is not a training run")
    ours = {name for name in names if VERSION_PATTERN.fullmatch(name)} | ({RUN_FOLDER} & names)
    if not ours and not _all_hidden(names - {"current"}):
        example = min(name for name in names if not name.startswith("."))
        raise RunDirectoryError(
            f"output folder {model_directory}: holds other files, such as {example[:80]!a}; "
            "choose a new or empty one"
        )


def _all_hidden(names: set[str]) -> bool:
    return all(name.startswith(".") for name in names)


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and not path.is_symlink() and path != path.parent:
        path = path.parent
    return path


def require_space(model_directory: Path, required_bytes: int) -> None:
    """Refuse a disk with less free space than the run will need.

    Raises:
        RunDirectoryError: Too little is free; the message says how much of how much.
    """
    free_bytes = shutil.disk_usage(_nearest_existing(model_directory)).free
    if free_bytes < required_bytes:
        raise RunDirectoryError(
            f"output folder {model_directory}: the run needs about {required_bytes / 1e6:,.1f} MB, "
            f"but the disk has {free_bytes / 1e6:,.1f} MB free"
        )


def corpus_bytes_needed(num_bytes: int, *, kind: str) -> int:
    """Estimate what a corpus of so many bytes takes as ids of two bytes each."""
    bytes_per_token = 1 if kind in ("characters", "bytes") else 2
    return 2 * num_bytes // bytes_per_token + _OTHER_BYTES


def model_bytes_needed(num_parameters: int, *, num_checkpoints: int) -> int:
    """Estimate what checkpoints and the published weights take."""
    per_parameter = num_checkpoints * _CHECKPOINT_BYTES_PER_PARAMETER + _EXPORT_BYTES_PER_PARAMETER
    return num_parameters * per_parameter + _OTHER_BYTES
