"""Two processes under torchrun learn what one learns, stop together, and resume."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from training.checkpoint import CheckpointStore
from training.run_log.events import Evaluation, Step
from training.run_log.log import read_history

Train = Callable[..., Path]

# Losses of the two differ by the order of sums in float32 alone.
TOLERANCE = 1e-4

TORCHRUN = (
    "-m",
    "torch.distributed.run",
    "--standalone",
    *("--nproc-per-node", "2"),
)
# Signals its own process once, in the step that the argument names, in the process of that rank.
SIGNALLED = """
import os, signal, sys
from training.computation import Computation
num_calls, plain = 0, Computation.gradients
def struck(*args, **kwargs):
    global num_calls
    num_calls += 1
    if num_calls == 6 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return plain(*args, **kwargs)
Computation.gradients = struck
from training.command_line import main
main(sys.argv[1:])
"""
FLAGS = (
    *("--preset", "smoke", "--set", "model.hidden_size=32", "--set", "model.context_length=32"),
    *("--set", "schedule.batch_tokens=256", "--set", "schedule.warmup_steps=3"),
    *("--set", "schedule.micro_batch_tokens=128", "--set", "model.dropout=0"),
    *("--set", "run.threads=1", "--set", "run.sample_tokens=0", "--set", "run.final_samples=0"),
    *("--set", "ngram.order=0"),
)


def torchrun(text: Path, out: Path, *flags: str, script: Path | None = None) -> str:
    """Runs two processes to their end; returns what they print."""
    program = ["-m", "training"] if script is None else [str(script)]
    source = ["--corpus", str(text), "--out", str(out)]
    finished = subprocess.run(
        [sys.executable, *TORCHRUN, *program, *source, *FLAGS, *flags],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def losses(out: Path) -> tuple[dict[int, float], dict[int, float]]:
    """Training and held-out losses by step."""
    events = [timed.event for timed in read_history(out / "run" / "log.jsonl").events]
    return (
        {event.step: event.loss for event in events if isinstance(event, Step)},
        {event.step: event.loss for event in events if isinstance(event, Evaluation)},
    )


@pytest.mark.timeout(110)
def test_two_processes_have_the_losses_of_one(text: Path, train: Train, tmp_path: Path) -> None:
    output = torchrun(text, tmp_path / "two", "--steps", "12")
    assert output.count("serve it: ") == 1
    alone = train(
        tmp_path / "one", "--steps", "12", model__dropout=0, ngram__order=0, run__keep_checkpoints=1
    )
    for two, one in zip(losses(tmp_path / "two"), losses(alone), strict=True):
        assert two.keys() == one.keys()
        assert list(two.values()) == pytest.approx(list(one.values()), abs=TOLERANCE)
    assert (tmp_path / "two" / "1" / "manifest.json").is_file()


@pytest.mark.timeout(119)
def test_a_signal_to_one_process_stops_both_and_both_resume(text: Path, tmp_path: Path) -> None:
    script = tmp_path / "signalled.py"
    script.write_text(SIGNALLED)
    out = tmp_path / "two"
    output = torchrun(text, out, "--steps", "12", script=script)
    assert "stopped on request: published" in output
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    assert 6 <= checkpoint.step <= 7
    torchrun(text, out, "--steps", "12", "--resume")
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    assert checkpoint.step == 12
    assert list(losses(out)[0]) == list(range(1, 13))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
