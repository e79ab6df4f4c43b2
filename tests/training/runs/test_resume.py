"""A resumed run is the uninterrupted one, bit for bit (H120, H130), or it refuses (H122, H124)."""

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from tests.training.nursery import Ended
from training.checkpoint import CheckpointStore
from training.dataset import TrainingWindows
from training.run_log.events import Evaluation, Step
from training.run_log.log import read_history

Train = Callable[..., Path]
RunApart = Callable[..., Ended]

NUM_STEPS = 24
# Kills the process for good at a point of the run that the argument counts to.
KILLED = """
import os, signal, sys
from training.{module} import {owner}
left, plain = {count}, {owner}.{method}
def struck(*args, **kwargs):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*args, **kwargs)
{owner}.{method} = struck
from training.command_line import main
main(sys.argv[1:])
"""


def losses(out: Path) -> dict[int, float]:
    """Loss of every step that counts."""
    events = [timed.event for timed in read_history(out / "run" / "log.jsonl").events]
    return {event.step: event.loss for event in events if isinstance(event, Step)}


def last_state(out: Path) -> tuple[Mapping[str, torch.Tensor], dict[str, object]]:
    """Tensors and numbers of the newest checkpoint, but for the time they took."""
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    state = dict(checkpoint.state)
    del state["elapsed_seconds"]
    return checkpoint.tensors, state


def differing(one: Path, other: Path) -> list[str]:
    """What is not bit-identical: tensors, numbers, and losses of steps, by name."""
    tensors, state = last_state(one)
    other_tensors, other_state = last_state(other)
    names = [
        name
        for name in tensors.keys() | other_tensors.keys()
        if name not in tensors
        or name not in other_tensors
        or not torch.equal(tensors[name], other_tensors[name])
    ]
    names += [name for name in state.keys() | other_state.keys() if state != other_state]
    return names + (["losses"] if losses(one) != losses(other) else [])


def copy_up_to(step: int, finished: Path, out: Path) -> Path:
    """The run as a kill after ``step`` would have left it."""
    shutil.copytree(finished / "run", out / "run")
    for folder in (out / "run" / "checkpoints").iterdir():
        if int(folder.name.partition("-")[0]) > step:
            shutil.rmtree(folder)
    return out


@pytest.mark.parametrize("step", [1, 8, 13, 23])
def test_resumes_bit_identically_from_any_checkpoint(
    step: int, finished: Path, train: Train, tmp_path: Path
) -> None:
    out = copy_up_to(step, finished, tmp_path / "tiny")
    train(out, "--steps", "24", "--resume")
    assert differing(finished, out) == []


@pytest.mark.timeout(100)
def test_a_run_killed_again_and_again_ends_as_if_never_interrupted(
    finished: Path, run_apart: RunApart, train: Train, tmp_path: Path
) -> None:
    rng = random.Random(7)
    out = tmp_path / "tiny"
    strikes = [
        ("optimizer", "Optimizer", "step", rng.randint(2, 9)),
        ("checkpoint", "CheckpointStore", "_rotate", rng.randint(2, 5)),
        ("computation", "Computation", "gradients", rng.randint(2, 5)),
    ]
    for module, owner, method, count in strikes:
        program = KILLED.format(module=module, owner=owner, method=method, count=count)
        flags = ["--resume"] if out.exists() else []
        assert run_apart(out, "--steps", "24", *flags, program=program).status == -9
    train(out, "--steps", "24", "--resume")
    assert differing(finished, out) == []


@pytest.mark.parametrize("spoiled", ["data position", "dropout"])
def test_the_comparison_notices_a_resume_that_went_wrong(
    spoiled: str, finished: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy_up_to(20, finished, tmp_path / "tiny")
    if spoiled == "dropout":
        monkeypatch.setattr("training.trainer.step_seed", _other_seed)
    else:
        plain = TrainingWindows.batch

        def shifted(windows: TrainingWindows, step: int, **ranks: int) -> object:
            return plain(windows, step + 1, **ranks)

        monkeypatch.setattr(TrainingWindows, "batch", shifted)
    train(out, "--steps", "24", "--resume")
    names = differing(finished, out)
    assert "losses" in names
    assert any(name.startswith("model.") for name in names)
    assert any(name.startswith("optimizer.") for name in names)


def _other_seed(seed: int, step: int, rank: int) -> int:
    return seed + step + rank


# torch's compiler warns about parts of torch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.timeout(240)
def test_a_compiled_run_resumes_bit_identically(train: Train, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "--steps", "8", run__compile="on")
    out = copy_up_to(5, whole, tmp_path / "resumed")
    train(out, "--steps", "8", "--resume", run__compile="on")
    assert last_state(whole)[1]["is_compiled"]
    assert differing(whole, out) == []


def test_damaged_newest_checkpoint_is_skipped_with_a_line(
    finished: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_up_to(15, finished, tmp_path / "tiny")
    newest = max((out / "run" / "checkpoints").iterdir()) / "tensors.safetensors"
    data = bytearray(newest.read_bytes())
    data[-3] ^= 4
    newest.write_bytes(data)
    train(out, "--steps", "24", "--resume")
    error = capsys.readouterr().err
    assert "damaged checkpoint is skipped" in error
    assert "resumed from the checkpoint of step 14" in error
    assert losses(out) == losses(finished)


def test_damaged_best_checkpoint_makes_room_for_a_later_one(
    finished: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_up_to(10, finished, tmp_path / "tiny")
    folders = sorted((out / "run" / "checkpoints").iterdir())
    for folder in folders[:-1]:
        (folder / "state.json").write_text("{}")
    train(out, "--steps", "24", "--resume")
    assert "cannot be read; the best is measured anew" in capsys.readouterr().err
    assert last_state(out)[1]["best_step"] == NUM_STEPS


def test_all_checkpoints_damaged_is_one_line(
    finished: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_up_to(3, finished, tmp_path / "tiny")
    for folder in (out / "run" / "checkpoints").iterdir():
        (folder / "manifest.json").unlink()
    with pytest.raises(SystemExit) as exit_:
        train(out, "--steps", "24", "--resume")
    assert exit_.value.code == 2
    assert "undamaged" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"schedule__seed": 2}, "settings.schedule.seed: was 1, now 2"),
        ({"optimizer__learning_rate": 0.01}, "settings.optimizer.learning_rate: was 0.02"),
        ({"run__threads": 2}, "settings.run.threads: was 1, now 2"),
        ({"tokenizer__vocabulary_size": 300}, "settings.tokenizer.vocabulary_size: was 320"),
    ],
)
def test_changed_settings_are_refused_by_name(
    changed: dict[str, object],
    named: str,
    finished: Path,
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = copy_up_to(3, finished, tmp_path / "tiny")
    with pytest.raises(SystemExit) as exit_:
        train(out, "--steps", "24", "--resume", **changed)
    assert exit_.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_changed_text_is_refused_and_the_right_one_still_resumes(
    finished: Path, train: Train, tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_up_to(20, finished, tmp_path / "tiny")
    original = text.read_text("utf-8")
    try:
        text.write_text(original.replace("fox", "cat"), "utf-8")
        with pytest.raises(SystemExit):
            train(out, "--steps", "24", "--resume")
    finally:
        text.write_text(original, "utf-8")
    assert "corpus_sha256" in capsys.readouterr().err.splitlines()[-1]
    train(out, "--steps", "24", "--resume")
    assert differing(finished, out) == []


def test_forced_changes_take_effect(finished: Path, train: Train, tmp_path: Path) -> None:
    out = copy_up_to(20, finished, tmp_path / "tiny")
    train(out, "--steps", "30", "--resume", "--force", schedule__batch_tokens=128)
    _, state = last_state(out)
    assert state["step"] == 30
    assert state["tokens"] == 20 * 256 + 10 * 128


@pytest.mark.parametrize("changed", [{"model__depth": 3}, {"optimizer__name": "adamw"}])
def test_what_no_checkpoint_fits_is_refused_even_by_force(
    changed: dict[str, object],
    finished: Path,
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = copy_up_to(3, finished, tmp_path / "tiny")
    with pytest.raises(SystemExit):
        train(out, "--steps", "24", "--resume", "--force", **changed)
    assert "the checkpoints fit no other" in capsys.readouterr().err.splitlines()[-1]


def test_a_finished_run_has_nothing_to_do(
    finished: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tiny"
    shutil.copytree(finished, out)
    train(out, "--steps", "24", "--resume")
    assert f"nothing to do (all planned steps are done): the run is published as {out / '1'}" in (
        capsys.readouterr().out
    )
    assert not (out / "2").exists()


def test_a_finished_run_whose_version_is_gone_publishes_again(
    finished: Path, train: Train, tmp_path: Path
) -> None:
    out = copy_up_to(NUM_STEPS, finished, tmp_path / "tiny")
    train(out, "--steps", "24", "--resume")
    assert (out / "1" / "manifest.json").is_file()


def test_resuming_nothing_is_refused(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train(tmp_path / "none", "--steps", "24", "--resume")
    assert "there is no run in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_elapsed_time_adds_up_over_sessions(finished: Path, train: Train, tmp_path: Path) -> None:
    out = copy_up_to(12, finished, tmp_path / "tiny")
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    before = checkpoint.state["elapsed_seconds"]
    assert isinstance(before, float)
    train(out, "--steps", "24", "--resume")
    events = [timed.event for timed in read_history(out / "run" / "log.jsonl").events]
    times = [e.elapsed_seconds for e in events if isinstance(e, Step | Evaluation)]
    seconds = [time for time in times if time is not None]
    assert seconds == sorted(seconds)
    later = [e.elapsed_seconds for e in events if isinstance(e, Step) and e.step > 12]
    assert min(later) > before
