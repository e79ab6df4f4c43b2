"""Which version of a name is tried, at the start and while another one is served."""

import os
import shutil
from pathlib import Path

import pytest

from model.store import list_names
from service.models import store_scan
from service.models.model_choice import choose_models
from service.models.model_store import StoreError
from service.models.store_scan import StoredName, folder_signature, scan_store
from service.settings_sources import load_settings
from tests.service.store_scene import as_anybody, open_folder


def store(root: Path, *versions: str, current: str | None = None) -> StoredName:
    for version in versions:
        (root / "tiny" / version).mkdir(parents=True)
    if current is not None:
        (root / "tiny" / "current").write_text(current)
    return scan_store(root)["tiny"]


@pytest.mark.parametrize(
    ("current", "tried"),
    [(None, ("10", "9", "2")), ("9\n", ("9", "2")), ("2", ("2",)), ("10", ("10", "9", "2"))],
)
def test_at_the_start_what_current_says_then_older_ones(
    tmp_path: Path, current: str | None, tried: tuple[str, ...]
) -> None:
    """Newer ones were passed over by a decision; a damaged version must not undo it."""
    assert store(tmp_path, "2", "9", "10", current=current).candidates == tried


@pytest.mark.parametrize(
    ("current", "serving", "tried"),
    [
        (None, "2", ("10", "9")),
        (None, "10", ()),
        ("2", "10", ("2",)),
        ("2", "2", ()),
        # What is served has left the store; nothing older takes its place by itself.
        (None, "11", ()),
        (None, "4", ("10", "9")),
    ],
)
def test_while_serving_what_current_says_else_newer_ones(
    tmp_path: Path, current: str | None, serving: str, tried: tuple[str, ...]
) -> None:
    assert store(tmp_path, "2", "9", "10", current=current).wanted(serving) == tried


@pytest.mark.parametrize("current", ["3", "../2", "", "x" * 100])
def test_a_current_that_cannot_be_followed_changes_nothing(tmp_path: Path, current: str) -> None:
    stored = store(tmp_path, "1", "2", current=current)
    assert stored.fault is not None
    assert str(tmp_path) not in stored.fault
    assert stored.wanted("1") == ()
    assert stored.candidates == ("2", "1")


def test_a_store_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        scan_store(tmp_path / "nowhere")


def test_work_in_progress_and_strange_names_are_not_seen(tmp_path: Path) -> None:
    store(tmp_path, "1")
    (tmp_path / "tiny" / ".tmp-2").mkdir()
    (tmp_path / "tiny" / "02").mkdir()
    (tmp_path / ".hidden" / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    assert scan_store(tmp_path).keys() == {"tiny"}
    assert scan_store(tmp_path)["tiny"].versions == ("1",)


def test_a_name_that_vanishes_while_it_is_looked_at_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Listed, and gone before its versions are."""
    store(tmp_path, "1")
    (tmp_path / "gone" / "1").mkdir(parents=True)

    def listed_then_gone(root: Path) -> tuple[str, ...]:
        names = list_names(root)
        shutil.rmtree(root / "gone")
        return names

    monkeypatch.setattr(store_scan, "list_names", listed_then_gone)
    assert scan_store(tmp_path).keys() == {"tiny"}
    assert any("gone is passed over" in record.message for record in caplog.records)


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_name_that_cannot_be_read_hides_no_other(mode: int) -> None:
    """Closed altogether, or its names can be listed and nothing in it can be reached."""
    with open_folder() as root:
        store(root, "1", current="1")
        (root / "closed" / "1").mkdir(parents=True)
        (root / "closed").chmod(mode)
        with as_anybody():
            found = scan_store(root)
            assert list_names(root) == ("closed", "tiny")
    assert found["tiny"].candidates == ("1",)
    assert found["closed"].fault == "closed: Permission denied"
    assert found["closed"].candidates == found["closed"].wanted("1") == ()


def test_a_store_of_nothing_but_closed_names_says_which() -> None:
    with open_folder() as root:
        (root / "closed").mkdir(mode=0o000)
        settings = load_settings(["--models", str(root)]).settings
        with as_anybody(), pytest.raises(StoreError, match="closed: Permission denied"):
            choose_models(settings)


def test_a_folder_that_vanishes_while_it_is_signed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone between its name being read and it being opened."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    scan = os.scandir

    def scan_late(path: str) -> object:
        if Path(path).name == "a":
            Path(path, "file").unlink()
            Path(path).rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_late)
    signed = [Path(path).relative_to(tmp_path) for path, *_ in folder_signature(tmp_path)]
    assert not (tmp_path / "a").exists()
    assert signed == [Path("a"), Path("b"), Path("b/file")]


def test_a_signature_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    before = folder_signature(tmp_path)
    assert folder_signature(tmp_path) == before
    (tmp_path / "sub" / "a").write_text("22")
    assert folder_signature(tmp_path) != before
    assert folder_signature(tmp_path / "gone") == ()
