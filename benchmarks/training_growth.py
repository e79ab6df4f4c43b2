"""Tokens/s and memory of training as the model and the corpus grow.

    python benchmarks/training_growth.py --text FILE --picture growth.png

FILE is plain text of at least 100 MB (smaller sizes are cut from it). Each row is a training
process of its own; its peak memory is what the system counted for it, its rate the median step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
# Depth and width of about 1, 10, 30 and 100 million parameters with 4,096 tokens, tied.
SHAPES = {"1 M": (2, 128), "10 M": (8, 296), "30 M": (8, 536), "100 M": (12, 816)}
CORPUS_MEGABYTES = (1, 10, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured training process."""

    label: str
    parameters: int
    tokens_per_second: float
    peak_megabytes: float
    preparation_seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both series, print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--corpora", type=int, nargs="*", default=list(CORPUS_MEGABYTES))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        models = [
            measure(cut(options.text, work, 10), work, label, shape, options.steps)
            for label, shape in SHAPES.items()
        ]
        corpora = [
            measure(cut(options.text, work, size), work, f"{size} MB", SHAPES["1 M"], options.steps)
            for size in options.corpora
        ]
    show("model, on 10 MB of text", models)
    show("corpus, for the model of 1 M", corpora)
    if options.picture:
        draw(models, corpora, options.picture)


def cut(source: Path, work: Path, megabytes: int) -> Path:
    """The first megabytes of a text, cut at a line."""
    path = work / f"{megabytes}.txt"
    with source.open("rb") as file:
        data = file.read(megabytes * 1_000_000)
    path.write_bytes(data[: data.rfind(b"\n") + 1])
    return path


def measure(text: Path, work: Path, label: str, shape: tuple[int, int], steps: int) -> Row:
    """Train a few steps in a process of its own; its children's peak memory is read by a probe."""
    depth, width = shape
    out = work / label.replace(" ", "") / "model"
    settings = [
        "tokenizer.vocabulary_size=4096",
        f"model.depth={depth}",
        f"model.hidden_size={width}",
        "model.num_attention_heads=4",
        "model.context_length=256",
        f"schedule.steps={steps}",
        "schedule.batch_tokens=2048",
        "schedule.evaluations=1",
        "schedule.evaluation_tokens=4096",
        # The last evaluation scores all that is held out.
        "corpus.max_held_out_bytes=100000",
        "run.compile=off",
        "run.sample_tokens=0",
        "run.final_samples=0",
        "ngram.order=3",
    ]
    command = [sys.executable, "-m", "training", "--corpus", str(text), "--out", str(out)]
    for setting in settings:
        command += ["--set", setting]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A process between us and the training: its children are this one training alone.
    probe = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", probe, *command],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )
    log = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    steps_seen = [event for event in log if event["event"] == "step"]
    unit = 1 if sys.platform == "darwin" else 1024
    return Row(
        label=label,
        parameters=next(event["parameters"] for event in log if event["event"] == "start"),
        tokens_per_second=statistics.median(
            event["tokens_per_second"] for event in steps_seen[len(steps_seen) // 3 :]
        ),
        peak_megabytes=int(finished.stdout) * unit / 1e6,
        preparation_seconds=steps_seen[0]["elapsed_seconds"],
    )


def show(title: str, rows: list[Row]) -> None:
    """Print one table."""
    print(f"\n| {title} | parameters | tokens/s | peak memory | to the first step |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.label} | {row.parameters:,} | {row.tokens_per_second:,.0f} "
            f"| {row.peak_megabytes:,.0f} MB | {row.preparation_seconds:.0f} s |"
        )


def draw(models: list[Row], corpora: list[Row], path: Path) -> None:
    """Rate and memory over the model's size, time and memory over the corpus's."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [row.parameters / 1e6 for row in models]
    left.loglog(sizes, [row.tokens_per_second for row in models], "o-", label="tokens/s")
    left.loglog(sizes, [row.peak_megabytes for row in models], "s--", label="peak memory, MB")
    left.set_xlabel("million parameters")
    megabytes = [float(row.label.split()[0]) for row in corpora]
    seconds = [row.preparation_seconds for row in corpora]
    right.loglog(megabytes, seconds, "o-", label="seconds to the first step")
    right.loglog(megabytes, [row.peak_megabytes for row in corpora], "s--", label="peak memory, MB")
    right.set_xlabel("corpus, MB")
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
