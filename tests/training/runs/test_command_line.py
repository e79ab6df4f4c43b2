"""Bad input is one line with setting, limit and value; every option changes something."""

import contextlib
import json
import shutil
import socket
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from model.artifact import read_artifact
from training.checkpoint import CheckpointError, CheckpointStore
from training.command_line import main
from training.presets import PRESETS, build_config, read_preset
from training.run_log.events import Evaluation, Sample, Start, Step
from training.run_log.log import read_history
from training.samples import Samples

Train = Callable[..., Path]


def last_line_of_failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs the command, which must end with 2, and returns the one line it says."""
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--set", "model.dept=3"], "there is no setting model.dept; did you mean model.depth?"),
        (["--set", "modle.depth=3"], "there is no section modle; did you mean model?"),
        (["--set", "model.depth"], "--set must be section.field=value, got 'model.depth'"),
        (["--depth", "deep"], "model.depth must be a number (an integer), got 'deep'"),
        (["--depth", "-1"], "model.depth must be from 0 to 128, got -1"),
        (["--minutes", "nan"], "schedule.minutes must be from 0 to 1e+07, got nan"),
        (["--minutes", "inf"], "schedule.minutes must be from 0 to 1e+07, got inf"),
        (["--steps", "-5"], "schedule.steps must be from 0 to 1.09951e+12, got -5"),
        (["--seed", "-1"], "schedule.seed must be from 0 to"),
        (["--device", "tpu"], "run.device must be one of auto, cpu, cuda, got 'tpu'"),
        (["--set", "optimizer.name=sgd"], "optimizer.name must be one of muon, adamw, got 'sgd'"),
        (["--set", "model.dropout=1"], "model.dropout must be from 0 to 0.9, got 1.0"),
        (["--set", "run.export_dtype=auto"], "run.export_dtype must be one of f32, bf16"),
        (["--set", "model.tie_word_embeddings=maybe"], "must be true or false, got 'maybe'"),
        (["--set", "model.context_length=4"], "model.context_length must be from 8"),
        (["--set", "model.num_attention_heads=3"], "model.num_attention_heads must divide"),
        (["--set", "model.num_attention_heads=64"], "model."),
        (["--set", "schedule.batch_tokens=8"], "schedule.batch_tokens must be at least"),
        (["--set", "tokenizer.vocabulary_size=50000"], "50,000|50000"),
        (
            ["--set", "model.context_length=60000", "--set", "schedule.batch_tokens=60000"],
            "model.context_length = 60000 needs at least",
        ),
        (["--config", "missing.toml"], "--config missing.toml: cannot be read"),
        (["--init-from", "missing"], "missing"),
        (["--preset", "huge"], "'huge' is not one of"),
        (["--metrics-port", "70000"], "run.metrics_port must be from 0 to 65535, got 70000"),
    ],
    ids=str,
)
def test_bad_settings_are_one_line_and_write_nothing(
    flags: list[str],
    expected: str,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    preset = [] if "--preset" in flags or "--init-from" in flags else ["--preset", "smoke"]
    line = last_line_of_failure(
        capsys, "--corpus", str(text), "--out", str(tmp_path / "new"), *preset, *flags
    )
    assert any(part in line for part in expected.split("|"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"   \n\n", b"one line only\n", None])
def test_corpora_without_enough_text_are_one_line_and_write_nothing(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.txt"
    if content is not None:
        corpus.write_bytes(content)
    out = tmp_path / "new"
    line = last_line_of_failure(
        capsys, "--corpus", str(corpus), "--out", str(out), "--preset", "smoke", "--steps", "3"
    )
    assert line.startswith("nextword-train: ")
    assert not out.exists()


def test_output_that_cannot_be_written_is_one_line(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("something else")
    for out in (file, file / "name", finished / "1", Path("/proc/none/name"), tmp_path / "a b\n"):
        line = last_line_of_failure(capsys, "--corpus", str(text), "--out", str(out))
        assert line.startswith("nextword-train: ")
    assert last_line_of_failure(capsys, "--corpus", str(text)).startswith("Error: --out ROOT/NAME")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_damaged_settings_file_is_one_line(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "settings.toml"
    out = str(tmp_path / "new")
    for content, expected in (
        ("[model\n", "is not valid TOML"),
        ("depth = 3\n", "depth must be a [section]"),
        ("[model]\ndepth = 'x'\n", "model.depth must be an integer, got 'x'"),
        ("[model]\ndepth = true\n", "model.depth must be an integer, got True"),
        ("[corpus]\ninclude = [1]\n", "corpus.include must be a list of texts"),
    ):
        config.write_text(content)
        flags = ["--corpus", str(text), "--out", out, "--config", str(config)]
        assert expected in last_line_of_failure(capsys, *flags)


def test_help_names_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    shown = capsys.readouterr().out
    config = build_config({"corpus": {"sources": ("x",)}})
    for section in ("corpus", "tokenizer", "ngram", "model", "optimizer", "schedule", "run"):
        for name in getattr(config, section).__dataclass_fields__:
            assert f"{section}.{name}" in shown


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    config = build_config(read_preset(preset), {"corpus": {"sources": ("x",)}})
    assert config.schedule.evaluations >= 1


def test_later_sources_win() -> None:
    config = build_config(
        {"corpus": {"sources": ["x"]}, "model": {"depth": 3, "dropout": 0.5}},
        {"model": {"depth": 4}},
        assignments=["model.depth=5", "corpus.include=*.a, *.b"],
    )
    assert (config.model.depth, config.model.dropout) == (5, 0.5)
    assert config.corpus.include == ("*.a", "*.b")


def events_of(out: Path) -> list[object]:
    """The log's events."""
    return [timed.event for timed in read_history(out / "run" / "log.jsonl").events]


def test_every_flag_changes_what_it_says(
    train: Train, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run with all of them, since each has its own trace."""
    config = tmp_path / "settings.toml"
    config.write_text('[optimizer]\nname = "adamw"\nadam_learning_rate = 0.004\n')
    extra = tmp_path / "extra.txt"
    extra.write_text("An extra document, told apart by its words.\n" * 40)
    out = train(
        tmp_path / "tiny",
        *["--corpus", str(extra), "--config", str(config), "--seed", "5", "--depth", "1"],
        *["--steps", "7", "--device", "cpu", "--text-status", "Made up by a test."],
        model__num_attention_heads=4,
        model__num_key_value_heads=2,
        model__intermediate_size=48,
        model__rope_theta=500,
        model__tie_word_embeddings="false",
        optimizer__weight_decay=0.01,
        schedule__warmup_steps=2,
        schedule__decay_fraction=0.5,
        schedule__evaluations=7,
        run__sample_prompt="The old",
        run__sample_tokens=3,
        run__final_samples=2,
        run__keep_checkpoints=2,
        run__checkpoint_minutes=60,
        ngram__order=3,
    )
    shape = read_artifact(out / "1").config
    assert shape.num_hidden_layers == 1
    assert (shape.num_attention_heads, shape.num_key_value_heads) == (4, 2)
    assert (shape.intermediate_size, shape.rope_theta) == (48, 500)
    assert not shape.tie_word_embeddings
    events = events_of(out)
    start = next(event for event in events if isinstance(event, Start))
    settings = cast("dict[str, dict[str, object]]", start.settings)
    assert settings["schedule"]["seed"] == 5
    assert settings["corpus"]["sources"] == [str(text), str(extra)]
    rates = [event.learning_rate for event in events if isinstance(event, Step)]
    assert rates[:2] == pytest.approx([0.002, 0.004])
    assert rates[-1] < 0.002
    assert len([event for event in events if isinstance(event, Evaluation)]) == 8
    samples = [event for event in events if isinstance(event, Sample)]
    assert {sample.prompt for sample in samples} == {"The old"}
    assert len(samples) == 8 + 2
    assert len(list((out / "run" / "checkpoints").iterdir())) <= 3
    assert json.loads((out / "1" / "ngram" / "ngram.json").read_text())["order"] == 3
    assert "Made up by a test." in (out / "1" / "README.md").read_text()


@pytest.mark.parametrize(
    "changed",
    [
        {"model__dropout": 0.5},
        {"optimizer__name": "adamw"},
        {"optimizer__learning_rate": 0.001},
        {"optimizer__adam_learning_rate": 0.001},
        {"optimizer__weight_decay": 0.5},
        {"optimizer__momentum": 0.5},
        {"optimizer__beta1": 0.5},
        {"optimizer__beta2": 0.5},
        {"optimizer__gradient_clip": 0.01},
        {"schedule__seed": 9},
        {"schedule__warmup_steps": 8},
        {"schedule__decay_fraction": 0.2},
        {"schedule__final_rate_fraction": 0.9},
        {"schedule__batch_tokens": 128},
        {"run__dtype": "bf16"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_setting_of_learning_changes_the_weights(
    changed: dict[str, object],
    unchanged: Sequence[float],
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert weights_after(train, tmp_path / "tiny", monkeypatch, **changed) != unchanged


def weights_after(
    train: Train, out: Path, monkeypatch: pytest.MonkeyPatch, **changed: object
) -> Sequence[float]:
    """Some weights after a few steps; nothing is published."""

    def refuse(*_: object, **__: object) -> None:
        raise CheckpointError("enough")

    monkeypatch.setattr("training.job.complete_run", refuse)
    quick = {"run__keep_checkpoints": 1, "run__checkpoint_minutes": 60, "ngram__order": 0}
    with pytest.raises(SystemExit):
        train(out, "--steps", "6", **{**quick, **changed})
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    weights = checkpoint.tensors["model.model.layers.0.mlp.up_proj.weight"]
    return cast("list[float]", weights.flatten().tolist())


@pytest.fixture(scope="module")
def unchanged(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Sequence[float]:
    """The weights with plain settings, which are the same each time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("unchanged")
        once = weights_after(train, folder / "once", monkeypatch)
        assert weights_after(train, folder / "again", monkeypatch) == once
        return once


def test_metrics_port_answers_while_training(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers: list[str] = []

    def ask(samples: Samples, step: int) -> None:
        del samples, step
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            answers.append(reply.read().decode())

    monkeypatch.setattr(Samples, "show", ask)
    train(tmp_path / "tiny", "--steps", "3", "--metrics-port", str(port))
    assert "nextword" in answers[-1]


def test_a_taken_metrics_port_leaves_an_earlier_run_recoverable(
    finished: Path, train: Train, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    shutil.copytree(finished, out)
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit):
            train(out, "--steps", "3", "--metrics-port", str(taken.getsockname()[1]))
    assert (out / "run" / "previous" / "checkpoints").is_dir()
    assert not (out / "run" / "log.jsonl").exists()
