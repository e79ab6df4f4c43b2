"""``nextword-train evaluate``: on our folders and on those of others, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.command_line import main

Train = Callable[..., Path]


def last_line_of_failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs the command, which must end with 2, and returns the one line it says."""
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1]


@pytest.mark.parametrize("flags", [[], ["--context", "16"], ["--json"]])
def test_evaluate_scores_a_published_folder(
    flags: list[str], finished: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(finished / "1"), "--corpus", str(text), *flags])
    output = capsys.readouterr().out
    if "--json" in flags:
        result = json.loads(output)
        assert result["model"] == "tiny@1"
        assert result["bytes"] == text.stat().st_size
        assert 0.5 < result["bits_per_byte"] < 4
        assert result["ngram_bits_per_byte"] > 0
    else:
        assert "bits_per_byte: " in output


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--context", "64"], "--context must be from 1 to 32 for this model, got 64"),
        (["--device", "tpu"], "'tpu' is not one of"),
        (["--set", "model.depth=3"], "evaluate takes settings of [corpus] only, got model.depth=3"),
    ],
)
def test_evaluate_refuses_what_it_cannot_do(
    flags: list[str],
    expected: str,
    finished: Path,
    text: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = last_line_of_failure(
        capsys, "evaluate", str(finished / "1"), "--corpus", str(text), *flags
    )
    assert expected in line


def test_evaluate_reads_folders_that_others_saved(
    finished: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign"
    AutoModelForCausalLM.from_pretrained(finished / "1").save_pretrained(foreign)
    AutoTokenizer.from_pretrained(finished / "1").save_pretrained(foreign)
    losses: list[float] = []
    for directory in (finished / "1", foreign):
        capsys.readouterr()
        main(["evaluate", str(directory), "--corpus", str(text), "--json"])
        losses.append(json.loads(capsys.readouterr().out)["nats_per_token"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
