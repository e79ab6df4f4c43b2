"""Two processes under torchrun learn what one learns, stop together, and resume."""

import os
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
        timeout=140,
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


@pytest.mark.timeout(300)
def test_two_processes_struck_and_resumed_have_the_losses_of_one(
    text: Path, train: Train, tmp_path: Path
) -> None:
    """A signal to one of them stops both, and both go on as if nothing had been."""
    script = tmp_path / "signalled.py"
    script.write_text(SIGNALLED)
    out = tmp_path / "two"
    output = torchrun(text, out, "--steps", "12", script=script)
    assert "stopped on request: published" in output
    assert output.count("serve it: ") == 1
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    assert 6 <= checkpoint.step <= 7
    torchrun(text, out, "--steps", "12", "--resume")
    checkpoint = CheckpointStore(out / "run" / "checkpoints").latest()
    assert checkpoint is not None
    assert checkpoint.step == 12
    alone = train(
        tmp_path / "one", "--steps", "12", model__dropout=0, ngram__order=0, run__keep_checkpoints=1
    )
    learned, held_out = losses(out)
    learned_alone, held_out_alone = losses(alone)
    assert list(learned) == list(learned_alone) == list(range(1, 13))
    assert list(learned.values()) == pytest.approx(list(learned_alone.values()), abs=TOLERANCE)
    # It measures once more where it stops.
    assert held_out.keys() >= held_out_alone.keys()
    for step, loss in held_out_alone.items():
        assert held_out[step] == pytest.approx(loss, abs=TOLERANCE)
    for version in ("1", "2"):
        assert (out / version / "manifest.json").is_file()
