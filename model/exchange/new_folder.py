"""Publishing a single model folder: it appears complete, with its manifest, or not at all."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from model.artifact import read_artifact
from model.artifact_error import ArtifactError
from model.durable_files import make_directories, sync_directory, work_directory
from model.manifest import FORMAT_VERSION, digest_directory, write_manifest

__all__ = ["publish_folder"]

_FIRST_VERSION = "1"


def publish_folder(
    directory: Path, write: Callable[[Path], object], *, manifest: Mapping[str, object]
) -> None:
    """Fill a new folder and give it its name when everything is in it.

    Args:
        directory: It must not exist, or be empty.
        write: Fills the folder it is given with the model's files, all but the manifest.
        manifest: Facts to record beside format version, name, version, time and digests.

    Raises:
        ArtifactError: Something is in the folder's place, what was written is no readable model,
            or the disk refused it; nothing remains.
    """
    place = directory.absolute()
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise ArtifactError(f"{directory}: is there already")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", place.name).strip("-._")[:64] or "model"
    try:
        make_directories(place.parent)
        with work_directory(place.parent) as work:
            write(work)
            read_artifact(work, verify=False)
            digests = digest_directory(work)
            values: dict[str, object] = {
                "format_version": FORMAT_VERSION,
                "name": name,
                "version": _FIRST_VERSION,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                **manifest,
                "files": {file: asdict(digest) for file, digest in digests.items()},
            }
            write_manifest(work, values)
            sync_directory(work)
            os.rename(work, place)
        sync_directory(place.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(f"{directory}: cannot be written: {reason}") from error
