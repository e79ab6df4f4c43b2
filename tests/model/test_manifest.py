"""What a manifest promises of a published folder, and how a broken promise is found (H6)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from model.artifact import ArtifactError, read_artifact
from model.config import ModelConfig
from model.store import publish

TinyModelWriter = Callable[[Path], ModelConfig]


@pytest.fixture
def published(tmp_path: Path, write_tiny_model: TinyModelWriter) -> Path:
    def write(work: Path) -> None:
        write_tiny_model(work)
        (work / "ngram").mkdir()
        np.save(work / "ngram" / "counts.npy", np.arange(4))
        (work / "README.md").write_text("A card.", "utf-8")

    return publish(tmp_path / "alice", write, manifest={"parent": None})


def _edit_json(path: Path, **changes: object) -> None:
    values = cast("dict[str, object]", json.loads(path.read_text("utf-8")))
    path.write_text(json.dumps(values | changes), "utf-8")


def test_a_manifest_is_written_and_read_back(published: Path) -> None:
    artifact = read_artifact(published)
    manifest = dict(artifact.manifest or {})
    files = cast("dict[str, object]", manifest.pop("files"))
    assert manifest.pop("created")
    assert manifest == {"format_version": 1, "name": "alice", "version": "1", "parent": None}
    assert set(files) == {
        path.relative_to(published).as_posix()
        for path in published.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def test_one_flipped_bit_in_any_file_is_found(published: Path) -> None:
    for path in [p for p in published.rglob("*") if p.is_file() and p.name != "manifest.json"]:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=r": its SHA-256 differs"):
            read_artifact(published)
        path.write_bytes(whole)
    assert read_artifact(published)


@pytest.mark.parametrize("name", ["model.safetensors", "ngram/counts.npy", "README.md"])
def test_a_truncated_or_missing_file_is_found_without_hashing(name: str, published: Path) -> None:
    path = published / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"bytes, but manifest\.json says"):
        read_artifact(published, verify=False)
    path.unlink()
    with pytest.raises(ArtifactError, match="No such file"):
        read_artifact(published, verify=False)


def test_a_file_that_a_loader_would_read_must_be_listed(published: Path) -> None:
    (published / "notes.txt").write_text("fine", "utf-8")
    assert read_artifact(published)
    (published / "special_tokens_map.json").write_text("{}", "utf-8")
    with pytest.raises(ArtifactError, match=r"special_tokens_map\.json: not listed"):
        read_artifact(published)


@pytest.mark.parametrize("version", [2, 999])
def test_a_newer_format_is_refused_by_number(version: int, published: Path) -> None:
    _edit_json(published / "manifest.json", format_version=version)
    with pytest.raises(ArtifactError, match=f"format_version {version} is newer than 1"):
        read_artifact(published)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "a\0b", "", "evil.pkl", "a\\b"]
)
def test_a_manifest_cannot_point_out_of_the_folder_or_at_a_pickle(
    name: str, published: Path
) -> None:
    files = {name: {"sha256": "0" * 64, "size": 1}}
    _edit_json(published / "manifest.json", files=files)
    with pytest.raises(ArtifactError, match="an entry of files is malformed"):
        read_artifact(published)


def test_a_recorded_file_cannot_be_a_link_that_leaves_the_folder(published: Path) -> None:
    shutil.move(published / "config.json", published.parent / "config.json")
    (published / "config.json").symlink_to(published.parent / "config.json")
    with pytest.raises(ArtifactError, match="a link that leaves the folder"):
        read_artifact(published)


def test_a_copied_folder_is_called_by_its_place(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "bob" / "7")
    copied = read_artifact(tmp_path / "bob" / "7")
    assert (copied.name, copied.version) == ("bob", "7")
    shutil.copytree(published, tmp_path / "elsewhere")
    moved = read_artifact(tmp_path / "elsewhere")
    assert (moved.name, moved.version) == ("alice", "1")
