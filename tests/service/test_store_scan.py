"""Which version of a name is tried, at the start and while another one is served."""

from pathlib import Path

import pytest

from service.model_store import StoreError
from service.store_scan import StoredName, folder_signature, scan_store


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


def test_a_signature_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    before = folder_signature(tmp_path)
    assert folder_signature(tmp_path) == before
    (tmp_path / "sub" / "a").write_text("22")
    assert folder_signature(tmp_path) != before
    assert folder_signature(tmp_path / "gone") == ()
