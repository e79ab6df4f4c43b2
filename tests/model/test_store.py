"""The model store: publishing, choosing, looking up; names from clients never become paths."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from model.artifact import ArtifactError, read_artifact
from model.config import ModelConfig
from model.durable_files import sweep_work_directories, work_directory
from model.store import (
    check_name,
    list_names,
    list_versions,
    locate,
    point_current,
    publish,
    resolve_version,
)

TinyModelWriter = Callable[[Path], ModelConfig]

HOSTILE_NAMES = ["../alice", "../../etc/passwd", "/etc/passwd", "alice/1", "a\0b", ".", "..", ""]


@pytest.fixture
def store(tmp_path: Path, write_tiny_model: TinyModelWriter) -> Path:
    """A store with two versions of alice."""
    for _ in range(2):
        publish(tmp_path / "store" / "alice", write_tiny_model, manifest={})
    return tmp_path / "store"


def test_each_publication_adds_a_version_and_leaves_the_others_alone(
    store: Path, write_tiny_model: TinyModelWriter
) -> None:
    old = {path: path.stat().st_ino for path in (store / "alice").rglob("*")}
    assert publish(store / "alice", write_tiny_model, manifest={}) == store / "alice" / "3"
    assert list_versions(store / "alice") == ("1", "2", "3")
    assert {path: path.stat().st_ino for path in old} == old
    assert read_artifact(store / "alice" / "3").version == "3"


def test_version_ten_follows_version_nine(store: Path, write_tiny_model: TinyModelWriter) -> None:
    (store / "alice" / "2").rename(store / "alice" / "9")
    publish(store / "alice", write_tiny_model, manifest={})
    assert list_versions(store / "alice") == ("1", "9", "10")
    assert resolve_version(store / "alice") == "10"


def test_an_open_file_of_an_older_version_stays_readable(
    store: Path, write_tiny_model: TinyModelWriter
) -> None:
    weights = store / "alice" / "2" / "model.safetensors"
    mapped = np.memmap(weights, np.uint8, mode="r")
    before = bytes(mapped)
    publish(store / "alice", write_tiny_model, manifest={})
    assert bytes(mapped) == before == weights.read_bytes()


def _write_nothing(_: Path) -> None:
    pass


def _remove_configuration(work: Path) -> None:
    (work / "config.json").unlink()


def _write_pickle(work: Path) -> None:
    (work / "optimizer.pt").write_bytes(b"")


def _write_link(work: Path) -> None:
    (work / "link").symlink_to("config.json")


def _write_nan(work: Path) -> None:
    path = work / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][3] = np.nan
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_write_pickle, "pickles are never published"),
        (_write_link, "only plain files"),
        (_write_nan, "not finite"),
        (_remove_configuration, "No such file"),
    ],
    ids=["pickle", "link", "nan", "incomplete"],
)
def test_what_could_not_be_served_is_not_published(
    spoil: Callable[[Path], None], message: str, store: Path, write_tiny_model: TinyModelWriter
) -> None:
    def write(work: Path) -> None:
        write_tiny_model(work)
        spoil(work)

    before = sorted(store.rglob("*"))
    with pytest.raises(ArtifactError, match=message):
        publish(store / "alice", write, manifest={})
    assert sorted(store.rglob("*")) == before


def test_a_failing_writer_leaves_nothing_and_is_heard(store: Path) -> None:
    def write(work: Path) -> None:
        (work / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    before = sorted(store.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        publish(store / "alice", write, manifest={})
    assert sorted(store.rglob("*")) == before


def test_a_caller_cannot_set_what_publishing_writes(store: Path) -> None:
    with pytest.raises(ValueError, match="'version'"):
        publish(store / "alice", _write_nothing, manifest={"version": "9"})


_PUBLISHER = """
import sys
from pathlib import Path
from shutil import copytree
from model.store import publish
source, target = Path(sys.argv[1]), Path(sys.argv[2])
sys.stdin.readline()
for _ in range(5):
    published = publish(
        target, lambda work: copytree(source, work, dirs_exist_ok=True), manifest={}
    )
    print(published.name)
"""


def test_concurrent_publishers_get_different_versions(
    tmp_path: Path, write_tiny_model: TinyModelWriter
) -> None:
    write_tiny_model(tmp_path / "source")
    target = tmp_path / "store" / "bob"
    publishers = [
        subprocess.Popen(
            [sys.executable, "-c", _PUBLISHER, tmp_path / "source", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for publisher in publishers:
        assert publisher.stdin
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
    outputs = [publisher.communicate(timeout=60) for publisher in publishers]
    versions = sorted((int(line) for output, _ in outputs for line in output.split()))
    assert versions == list(range(1, 16)), [errors for _, errors in outputs]
    assert list_versions(target) == tuple(map(str, versions))
    assert all(read_artifact(target / version).version == version for version in map(str, versions))
    assert [p.name for p in target.iterdir() if not p.name.isdecimal()] == []


def test_a_sweep_spares_what_a_living_publisher_builds(tmp_path: Path) -> None:
    (tmp_path / ".work-left-by-a-killed-process").mkdir()
    with work_directory(tmp_path) as work:
        (work / "half").write_bytes(b"half")
        sweep_work_directories(tmp_path)
        assert list(tmp_path.iterdir()) == [work]
    assert list(tmp_path.iterdir()) == []


def test_current_decides_and_without_it_the_newest_readable(store: Path) -> None:
    name_directory = store / "alice"
    assert resolve_version(name_directory) == "2"
    point_current(name_directory, "1")
    assert resolve_version(name_directory) == "1"
    assert locate(store, "alice") == name_directory / "1"
    point_current(name_directory, None)
    assert resolve_version(name_directory) == "2"


def test_a_damaged_newest_version_is_passed_over_and_announced(store: Path) -> None:
    os.truncate(store / "alice" / "2" / "model.safetensors", 100)
    announced: list[str] = []
    assert resolve_version(store / "alice", announce=announced.append) == "1"
    assert len(announced) == 1
    assert "version 2 of alice" in announced[0]
    os.truncate(store / "alice" / "1" / "model.safetensors", 100)
    with pytest.raises(ArtifactError, match="no readable version"):
        resolve_version(store / "alice")


@pytest.mark.parametrize("content", ["3", "../2", "", "1\n2", "one", "1" * 100, "01"])
def test_a_current_that_names_no_version_is_refused_not_ignored(content: str, store: Path) -> None:
    (store / "alice" / "current").write_text(content, "ascii")
    with pytest.raises(ArtifactError, match="current: "):
        resolve_version(store / "alice")


def test_current_cannot_be_pointed_at_what_is_not_there(store: Path) -> None:
    with pytest.raises(ArtifactError, match="no version '7'"):
        point_current(store / "alice", "7")
    assert not (store / "alice" / "current").exists()


def test_only_names_with_versions_are_listed(store: Path) -> None:
    (store / "empty").mkdir()
    (store / "training" / "run").mkdir(parents=True)
    (store / "file").write_bytes(b"")
    (store / ".hidden" / "1").mkdir(parents=True)
    (store / "alice" / "01").mkdir()
    (store / "alice" / "run").mkdir()
    assert list_names(store) == ("alice",)
    assert list_versions(store / "alice") == ("1", "2")


def test_links_out_of_the_store_are_not_listed(store: Path, tmp_path: Path) -> None:
    (tmp_path / "outside" / "1").mkdir(parents=True)
    (store / "mallory").symlink_to(tmp_path / "outside")
    (store / "alice" / "3").symlink_to(tmp_path / "outside" / "1")
    (store / "alias").symlink_to("alice")
    assert list_names(store) == ("alias", "alice")
    assert list_versions(store / "alice") == ("1", "2")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_is_not_in_the_table_is_unknown(name: str, store: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^no model "):
        locate(store, name)
    with pytest.raises(ArtifactError, match=r"^no version "):
        locate(store, "alice", version=name)
    assert locate(store, "alice", version="1") == store / "alice" / "1"


@pytest.mark.parametrize(
    "name", [*HOSTILE_NAMES, "run", "Current", "12", "-x", ".x", "a b", "x" * 65, "na\u00efve"]
)
def test_a_bad_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ArtifactError, match="model name"):
        check_name(name)


@pytest.mark.parametrize("name", ["alice", "A", "gpt-2.1_x", "x" * 64, "2b"])
def test_an_ordinary_name_is_accepted(name: str) -> None:
    check_name(name)


def test_a_missing_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        list_names(tmp_path / "nowhere")
