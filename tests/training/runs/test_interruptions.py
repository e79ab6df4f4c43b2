"""Signals, NaN, a second trainer, a full disk: nothing is lost, and one line says so."""

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from model.artifact import read_artifact
from tests.training.nursery import Ended
from training.checkpoint import CheckpointStore
from training.command_line import main
from training.run_log.events import Step
from training.run_log.log import read_history

Train = Callable[..., Path]
RunApart = Callable[..., Ended]

# Sends this process a signal when a function has been called so many times.
SIGNALLED = """
import os, signal, sys
# A shell starts its background jobs with SIGINT ignored, and this process may be one.
signal.signal(signal.SIGINT, signal.default_int_handler)
from training.{module} import {owner}
num_calls, plain = 0, {owner}.{method}
def struck(*args, **kwargs):
    global num_calls
    num_calls += 1
    if num_calls in {calls}:
        os.kill(os.getpid(), signal.{name})
    return plain(*args, **kwargs)
{owner}.{method} = struck
from training.command_line import main
main(sys.argv[1:])
"""


def steps(out: Path) -> list[Step]:
    """The steps in the log."""
    events = [timed.event for timed in read_history(out / "run" / "log.jsonl").events]
    return [event for event in events if isinstance(event, Step)]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_first_signal_finishes_saves_and_publishes(
    name: str, run_apart: RunApart, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    # While gradients are computed, where a run spends its time.
    program = SIGNALLED.format(
        module="computation", owner="Computation", method="_loss", calls={21}, name=name
    )
    ended = run_apart(out, "--steps", "5000", program=program, run__checkpoint_minutes=10)
    assert ended.status == 0, ended.error
    assert "stopping: finishes the step, saves and publishes" in ended.error
    version = out / "1"
    assert f"serve it: nextword-serve --model {version}" in ended.output
    assert read_artifact(version, verify=True).config.num_hidden_layers == 2
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    # Two micro batches a step: the signal came in the eleventh.
    assert checkpoint.step == steps(out)[-1].step == 11


def test_second_signal_stops_at_once_and_loses_no_checkpoint(
    run_apart: RunApart, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    program = SIGNALLED.format(
        module="computation", owner="Computation", method="_loss", calls={21, 22}, name="SIGTERM"
    )
    ended = run_apart(out, "--steps", "5000", program=program)
    assert ended.status == 128 + signal.SIGTERM
    assert ended.output == ""
    assert not (out / "1").exists()
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    assert checkpoint.step == 10


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize(
    ("module", "owner", "method"),
    [
        ("corpus.corpus", "Corpus", "documents"),
        ("progress.recorder", "Progress", "event"),
    ],
)
def test_signal_before_training_leaves_nothing(
    module: str, owner: str, method: str, name: str, code: int, run_apart: RunApart, tmp_path: Path
) -> None:
    program = SIGNALLED.format(module=module, owner=owner, method=method, calls={1}, name=name)
    ended = run_apart(tmp_path / "tiny", "--steps", "5", program=program)
    assert ended.status == code, ended.error
    assert ended.error.splitlines()[-1] == "nextword-train: stopped; nothing was published"
    assert "Traceback" not in ended.error
    assert list(tmp_path.iterdir()) == []


def test_nan_stops_the_run_keeps_the_best_and_a_smaller_rate_goes_on(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tiny"
    wild = {"optimizer__adam_learning_rate": 1000.0, "optimizer__learning_rate": 1000.0}
    with pytest.raises(SystemExit) as exit_:
        train(out, "--steps", "40", **wild, schedule__warmup_steps=30, optimizer__gradient_clip=0)
    assert exit_.value.code == 2
    assert re.search("the loss is not finite at step [0-9]+", capsys.readouterr().err)
    assert not (out / "1").exists()
    store = CheckpointStore(out / "run" / "checkpoints")
    best, latest = store.best(), store.latest()
    assert best is not None
    assert latest is not None
    assert all(tensor.isfinite().all() for tensor in latest.tensors.values())
    train(
        out,
        *["--steps", "40", "--resume", "--force"],
        schedule__warmup_steps=30,
        schedule__patience=0,
        optimizer__gradient_clip=0,
        optimizer__adam_learning_rate=0.001,
        optimizer__learning_rate=0.001,
    )
    assert (out / "1" / "manifest.json").is_file()


def test_second_trainer_is_refused_while_the_first_goes_on(
    run_apart: RunApart, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    # The first run starts a second one on its own folder in the middle of training.
    program = """
import subprocess, sys
from training.optimizer import Optimizer
num_calls, plain = 0, Optimizer.step
def step(*args, **kwargs):
    global num_calls
    num_calls += 1
    if num_calls == 3:
        command = [sys.executable, "-m", "training", *sys.argv[1:]]
        second = subprocess.run(command, capture_output=True, text=True)
        print("second:", second.returncode, second.stderr.splitlines()[-1], flush=True)
    return plain(*args, **kwargs)
Optimizer.step = step
from training.command_line import main
main(sys.argv[1:])
"""
    ended = run_apart(out, "--steps", "6", program=program)
    assert ended.status == 0, ended.error
    assert "second: 2 nextword-train: " in ended.output
    assert "in use by process" in ended.output
    assert (out / "1").is_dir()


def test_disk_too_small_for_the_model_is_found_before_training(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        train(
            tmp_path / "tiny",
            *["--steps", "5"],
            model__hidden_size=16_384,
            model__depth=128,
            run__keep_checkpoints=1000,
        )
    assert exit_.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search("the run needs about [0-9,.]+ MB, but the disk has [0-9,.]+ MB free", last)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_ends_the_run_with_a_line_and_keeps_older_checkpoints(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    out = tmp_path / "tiny"
    shutil.copytree(finished / "run", out / "run")
    for folder in (out / "run" / "checkpoints").iterdir():
        if int(folder.name.partition("-")[0]) > 12:
            shutil.rmtree(folder)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("training.checkpoint.write_folder", refuse)
    with pytest.raises(SystemExit) as exit_:
        train(out, "--steps", "24", "--resume")
    assert exit_.value.code == 2
    monkeypatch.undo()
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    assert checkpoint.step == 12


def test_a_new_run_sets_the_earlier_one_aside_only_when_its_text_can_be_read(
    finished: Path, train: Train, tmp_path: Path, text: Path
) -> None:
    out = tmp_path / "tiny"
    shutil.copytree(finished, out)
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    with pytest.raises(SystemExit):
        main(["--corpus", str(tmp_path / "missing.txt"), "--out", str(out), "--steps", "3"])
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    train(out, "--steps", "3", run__keep_checkpoints=1)
    assert (out / "run" / "previous" / "checkpoints").is_dir()
    manifest = json.loads((out / "2" / "manifest.json").read_text("utf-8"))
    assert manifest["training"]["steps"] == 3
