"""One trainer per run folder, and what would end a run late is found when it starts."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.run_directory import RunDirectory, RunDirectoryError, check_resumable

_TRAINER = """
import sys
from pathlib import Path
from training.run_directory import RunDirectory
with RunDirectory.open(Path(sys.argv[1]), announce=print, command="train --corpus a.txt"):
    print("training", flush=True)
    sys.stdin.readline()
"""


def _start_trainer(out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _TRAINER, out],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "training\n"
    return process


def _open_and_close(out: Path, *, required_bytes: int = 0) -> list[str]:
    announced: list[str] = []
    with RunDirectory.open(out, announce=announced.append, required_bytes=required_bytes):
        pass
    return announced


def test_a_second_trainer_is_refused_and_told_about_the_first(tmp_path: Path) -> None:
    with _start_trainer(tmp_path / "alice") as first:
        with pytest.raises(RunDirectoryError) as caught:
            _open_and_close(tmp_path / "alice")
        first.communicate("\n", timeout=60)
    assert f"in use by process {first.pid} on " in str(caught.value)
    assert "train --corpus a.txt" in str(caught.value)
    assert first.returncode == 0
    assert _open_and_close(tmp_path / "alice") == []


def test_the_lock_of_a_killed_trainer_is_taken_over_and_announced(tmp_path: Path) -> None:
    with _start_trainer(tmp_path / "alice") as first:
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=60)
    announced = _open_and_close(tmp_path / "alice")
    assert len(announced) == 1
    assert f"taking over from process {first.pid} on " in announced[0]
    assert _open_and_close(tmp_path / "alice") == []


def test_a_run_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with (
        RunDirectory.open(tmp_path / "alice", announce=print),
        pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()}"),
    ):
        _open_and_close(tmp_path / "alice")


def test_a_garbled_owner_record_does_not_hide_the_owner(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "alice", announce=print) as run:
        (run.path / "lock").write_bytes(b"\xff[")
        with pytest.raises(RunDirectoryError, match="in use by another process"):
            _open_and_close(tmp_path / "alice")


def test_what_work_of_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "alice", announce=print) as run:
        run.record_settings({})
        (run.path / ".work-0123").mkdir()
    with RunDirectory.open(tmp_path / "alice", announce=print) as run:
        assert sorted(path.name for path in run.path.iterdir()) == ["lock", "settings.json"]


def test_a_run_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    _open_and_close(tmp_path / "models" / "alice")
    assert list(tmp_path.iterdir()) == []


def test_a_trainers_own_error_passes_through(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="the corpus"),
        RunDirectory.open(tmp_path / "alice", announce=print),
    ):
        raise OSError(errno.EIO, "the corpus")
    assert list(tmp_path.iterdir()) == []


def test_paths_are_those_of_the_run(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "alice", announce=print) as run:
        assert run.model_directory == tmp_path / "alice"
        assert run.path == tmp_path / "alice" / "run"
        names = (run.log_path, run.checkpoints_path, run.tokens_path, run.settings_path)
        assert [path.name for path in names] == [
            "log.jsonl",
            "checkpoints",
            "tokens",
            "settings.json",
        ]


def _file(out: Path) -> None:
    out.write_bytes(b"")


def _photos(out: Path) -> None:
    out.mkdir()
    (out / "photo.jpg").write_bytes(b"")


def _foreign_run(out: Path) -> None:
    (out / "run").mkdir(parents=True)
    (out / "run" / "runner.py").write_bytes(b"")


def _model(out: Path) -> None:
    out.mkdir()
    (out / "config.json").write_bytes(b"")


def _file_as_run(out: Path) -> None:
    out.mkdir()
    (out / "run").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_file, "is not a folder"),
        (_photos, r"holds other files, such as 'photo\.jpg'"),
        (_foreign_run, "exists and is not a training run"),
        (_model, "is itself a model"),
        (_file_as_run, "Not a directory"),
    ],
    ids=["file", "other files", "run of another kind", "model", "file as run"],
)
def test_a_folder_of_another_kind_is_refused_untouched(
    make: object, message: str, tmp_path: Path
) -> None:
    assert callable(make)
    make(tmp_path / "alice")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunDirectoryError, match=message):
        _open_and_close(tmp_path / "alice")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["run", "7", "a b", "x" * 65])
def test_a_folder_that_cannot_be_a_models_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="model name"):
        _open_and_close(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_among_the_parents_is_refused(tmp_path: Path) -> None:
    _file(tmp_path / "models")
    with pytest.raises(RunDirectoryError, match="models is not a folder"):
        _open_and_close(tmp_path / "models" / "alice")


def test_an_empty_folder_or_one_with_versions_is_welcome(tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir()
    _open_and_close(tmp_path / "alice")
    assert (tmp_path / "alice").is_dir()
    (tmp_path / "bob" / "1").mkdir(parents=True)
    (tmp_path / "bob" / "notes.txt").write_bytes(b"")
    _open_and_close(tmp_path / "bob")
    assert not (tmp_path / "bob" / "run").exists()


def test_too_little_space_is_found_at_the_start_with_both_figures(tmp_path: Path) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    with pytest.raises(RunDirectoryError, match=r"needs about [\d,.]+ MB, but .* [\d,.]+ MB free"):
        _open_and_close(tmp_path / "alice", required_bytes=free_bytes * 2)
    assert list(tmp_path.iterdir()) == []
    with RunDirectory.open(tmp_path / "alice", announce=print, required_bytes=1) as run:
        run.require_space(1)
        with pytest.raises(RunDirectoryError, match="needs about"):
            run.require_space(free_bytes * 2)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("call", ["mkdir", "write", "fsync"])
def test_a_disk_that_refuses_is_found_at_the_start(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(RunDirectoryError, match=f"cannot be written: {os.strerror(number)}"):
        _open_and_close(tmp_path / "alice")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


_OPEN_ON_OWN_DISK = """
set -e
mount -t tmpfs -o size=64k,"$2" none "$1"
exec "$3" -c '
import sys
from pathlib import Path
from training.run_directory import RunDirectory, RunDirectoryError
try:
    with RunDirectory.open(Path(sys.argv[1]) / "alice", announce=print):
        sys.exit("opened")
except RunDirectoryError as error:
    print(error)
    print(list(Path(sys.argv[1]).iterdir()))
' "$1"
"""


@pytest.mark.parametrize(
    ("option", "message"), [("ro", "Read-only file system"), ("rw", "No space left on device")]
)
def test_a_real_disk_that_is_read_only_or_full_is_found_at_the_start(
    option: str, message: str, tmp_path: Path
) -> None:
    can_mount = shutil.which("unshare") and not subprocess.call(
        ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", tmp_path],
        stderr=subprocess.DEVNULL,
    )
    if not can_mount:
        pytest.skip("needs a mount namespace of its own")
    arguments = ["sh", "-c", _OPEN_ON_OWN_DISK, "sh", tmp_path, option, sys.executable]
    process = subprocess.run(
        ["unshare", "--map-root-user", "--mount", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    error, left = process.stdout.splitlines()
    assert message in error
    assert left == "[]"


def test_settings_are_recorded_and_read_back(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "alice", announce=print) as run:
        assert run.read_settings() is None
        run.record_settings({"seed": 1})
        run.record_settings({"seed": 2, "model": {"depth": 4}})
        assert run.read_settings() == {"seed": 2, "model": {"depth": 4}}
        run.settings_path.write_bytes(b"{")
        with pytest.raises(RunDirectoryError, match=r"settings\.json: not valid JSON"):
            run.read_settings()


def test_equal_settings_can_be_resumed() -> None:
    settings: dict[str, object] = {"seed": 1, "betas": [0.9, 0.95], "model": {"depth": 4}}
    assert check_resumable(settings, settings | {"betas": (0.9, 0.95)}) == []


def test_each_difference_is_named_with_both_values() -> None:
    old: dict[str, object] = {"seed": 1, "model": {"depth": 4, "width": 64}, "old": "x" * 500}
    new: dict[str, object] = {"seed": 2, "model": {"depth": 4, "width": 96}, "new": {}}
    differences = check_resumable(old, new)
    assert differences[:2] == ["model.width: was 64, now 96", "new: now {}, not set before"]
    assert differences[2].startswith('old: was "xxx')
    assert differences[2].endswith("..., not set now")
    assert differences[3:] == ["seed: was 1, now 2"]


def test_an_earlier_run_is_set_aside_whole(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "alice", announce=print) as run:
        assert run.set_aside() is None
        for attempt in ("first", "second"):
            run.checkpoints_path.mkdir()
            (run.checkpoints_path / attempt).mkdir()
            run.log_path.write_text(attempt, "utf-8")
            previous = run.set_aside()
            assert previous is not None
            assert [path.name for path in (previous / "checkpoints").iterdir()] == [attempt]
            assert (previous / "log.jsonl").read_text("utf-8") == attempt
            assert sorted(path.name for path in run.path.iterdir()) == ["lock", "previous"]
