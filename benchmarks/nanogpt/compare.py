"""Train nanoGPT and Nextword on the same text, one after the other, and score both alike.

    python benchmarks/nanogpt/compare.py --nanogpt DIR --text input.txt --recipe cpu --seeds 3

DIR is a checkout of karpathy/nanoGPT, TEXT its Shakespeare file; nothing of either is kept. Each
seed runs nanoGPT's published recipe and then ours, as processes of their own, from nothing to the
best model on disk: starting, compiling and evaluating count. Both best models are scored here on
the same windows: the whole held-out tenth, side by side, at the recipe's context length.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.tokenizer import Tokenizer
from model.weights import load_transformer
from training.evaluate import score_tokens

HERE = Path(__file__).parent
NANOGPT_CONFIG = "config/train_shakespeare_char.py"
# The README's CPU command, and its GPU command with the evaluations that find its best.
RECIPES: dict[str, tuple[list[str], int]] = {
    "cpu": (
        [
            *("--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1"),
            *("--block_size=64", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128"),
            *("--max_iters=2000", "--lr_decay_iters=2000", "--dropout=0.0"),
        ],
        64,
    ),
    "gpu": (["--log_interval=10"], 256),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one training gave."""

    seed: int
    loss: float
    wall_seconds: float
    seconds_to_best: float
    tokens_per_second: float
    own_best: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and print its table; the raw figures go to ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--recipe", choices=sorted(RECIPES), required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-iters", type=int, help="end nanoGPT here; its schedule stays")
    parser.add_argument("--equal-steps", type=int, default=300, help="of a round; 250 at least")
    parser.add_argument("--equal-runs", type=int, default=3, help="rounds of throughput runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows: dict[str, list[Run]] = {"nanoGPT": [], "Nextword": []}
    rates: dict[str, list[float]] = {"nanoGPT": [], "adamw": [], "muon": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare_nanogpt(options.nanogpt, options.text, work)
        for seed in range(1, options.seeds + 1):
            rows["nanoGPT"].append(run_nanogpt(work, options.recipe, seed, options.max_iters))
            rows["Nextword"].append(run_ours(work, options.text, options.recipe, seed))
            for name, runs in rows.items():
                print(name, runs[-1], flush=True)
        for number in range(1, options.equal_runs + 1):
            # One after the other, so that a busy moment of the machine meets all of them.
            rival = run_nanogpt(work, options.recipe, number, options.equal_steps)
            rates["nanoGPT"].append(rival.tokens_per_second)
            for name in ("adamw", "muon"):
                rates[name].append(
                    equal_shape_rate(work, options.text, options.recipe, name, options.equal_steps)
                )
            print({name: round(values[-1]) for name, values in rates.items()}, flush=True)
    report(rows, rates)
    if options.json:
        raw = {name: [vars_of(run) for run in runs] for name, runs in rows.items()}
        options.json.write_text(json.dumps({"runs": raw, "equal_shape": rates}, indent=1) + "\n")


def prepare_nanogpt(source: Path, text: Path, work: Path) -> None:
    """Copy nanoGPT beside the text and let it make its token files."""
    shutil.copytree(source, work / "nanogpt", ignore=shutil.ignore_patterns(".git", "out*"))
    data = work / "nanogpt" / "data" / "shakespeare_char"
    shutil.copyfile(text, data / "input.txt")
    # Its preparation imports requests for a download that the file makes unnecessary.
    (data / "requests.py").write_text("")
    subprocess.run([sys.executable, "prepare.py"], cwd=data, check=True, capture_output=True)


def run_nanogpt(work: Path, recipe: str, seed: int, max_iters: int | None) -> Run:
    """One training by nanoGPT's own script, whose fixed seed is replaced by ours."""
    folder = work / "nanogpt"
    script = (folder / "train.py").read_text().replace("manual_seed(1337", f"manual_seed({seed}")
    (folder / "seeded.py").write_text(script)
    flags, context_length = RECIPES[recipe]
    extra = [f"--max_iters={max_iters}"] if max_iters else []
    command = [sys.executable, "-u", "seeded.py", NANOGPT_CONFIG, *flags, *extra]
    began = time.monotonic()
    evaluations: list[tuple[float, float]] = []
    step_milliseconds: list[float] = []
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"val loss ([\d.]+)", line):
            evaluations.append((float(found[1]), time.monotonic() - began))
        if found := re.search(r"iter \d+: .*time ([\d.]+)ms", line):
            step_milliseconds.append(float(found[1]))
    if process.wait() != 0:
        raise SystemExit("nanoGPT failed")
    wall_seconds = time.monotonic() - began
    own_best, seconds_to_best = min(evaluations)
    tokens = (64 if recipe == "gpu" else 12) * context_length
    return Run(
        seed=seed,
        loss=score_nanogpt(folder, context_length),
        wall_seconds=wall_seconds,
        seconds_to_best=seconds_to_best,
        tokens_per_second=1000.0 * tokens / statistics.median(step_milliseconds),
        own_best=own_best,
    )


def score_nanogpt(folder: Path, context_length: int) -> float:
    """Nats per character of nanoGPT's best checkpoint on the held-out windows."""
    sys.path.insert(0, str(folder))
    import importlib.util

    specification = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["nanogpt_model"] = module
    specification.loader.exec_module(module)
    sys.path.pop(0)
    checkpoint = torch.load(
        folder / "out-shakespeare-char" / "ckpt.pt", map_location="cpu", weights_only=True
    )
    network = module.GPT(module.GPTConfig(**checkpoint["model_args"])).eval()
    prefix = "_orig_mod."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in checkpoint["model"].items()})
    tokens = np.fromfile(folder / "data" / "shakespeare_char" / "val.bin", dtype=np.uint16)

    def logits(token_ids: torch.Tensor) -> torch.Tensor:
        # Given targets, it computes the logits of every position, not only the last.
        ids = token_ids.contiguous()
        return network(ids, ids)[0]

    return scored(logits, tokens, context_length)


def run_ours(work: Path, text: Path, recipe: str, seed: int) -> Run:
    """One training by nextword-train, from the text to the published folder."""
    out = work / f"ours-{seed}" / "shakespeare"
    began = time.monotonic()
    train(text, out, recipe, seed, [])
    wall_seconds = time.monotonic() - began
    log = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    best = [event for event in log if event["event"] == "evaluation" and event["is_best"]][-1]
    return Run(
        seed=seed,
        loss=score_ours(out / "1", work, RECIPES[recipe][1]),
        wall_seconds=wall_seconds,
        seconds_to_best=float(best["elapsed_seconds"]),
        tokens_per_second=median_rate(log),
        own_best=float(best["loss"]),
    )


def equal_shape_rate(work: Path, text: Path, recipe: str, optimizer: str, steps: int) -> float:
    """Our tokens/s at nanoGPT's own shape and batch, by optimizer."""
    out = work / "equal" / "shakespeare"
    batch_tokens = (64 if recipe == "gpu" else 12) * RECIPES[recipe][1]
    settings = [
        f"schedule.batch_tokens={batch_tokens}",
        f"schedule.steps={steps}",
        "schedule.evaluations=1",
        "run.compile=on",
        f"optimizer.name={optimizer}",
        *(["model.dropout=0.2"] if recipe == "gpu" else []),
    ]
    train(text, out, recipe, 1, settings)
    log = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    shutil.rmtree(out)
    return median_rate(log)


def train(text: Path, out: Path, recipe: str, seed: int, settings: list[str]) -> None:
    assignments = [part for setting in settings for part in ("--set", setting)]
    device = "cuda" if recipe == "gpu" else "cpu"
    command = [
        *(sys.executable, "-m", "training", "--corpus", str(text), "--out", str(out)),
        *("--config", str(HERE / f"ours-{recipe}.toml"), "--preset", "small"),
        *("--seed", str(seed), "--device", device, *assignments),
    ]
    root = str(HERE.parents[1])
    environment = {**os.environ, "PYTHONPATH": root + os.pathsep + os.environ.get("PYTHONPATH", "")}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def median_rate(log: list[dict[str, object]]) -> float:
    rates = [float(str(e["tokens_per_second"])) for e in log if e["event"] == "step"]
    return statistics.median(rates[len(rates) // 5 :])


def score_ours(directory: Path, work: Path, context_length: int) -> float:
    """Nats per character of a published folder on nanoGPT's own held-out tokens."""
    tokenizer = Tokenizer.load(directory)
    text = (work / "nanogpt" / "data" / "shakespeare_char" / "input.txt").read_text()
    ids = tokenizer.encode(text[int(len(text) * 0.9) :])
    return scored(load_transformer(directory), np.array(ids), context_length)


def scored(logits: object, tokens: np.ndarray, context_length: int) -> float:
    """Mean surprise over windows side by side; the first character is only a context."""
    assert callable(logits)
    num_windows = (tokens.size - 1) // context_length
    score = score_tokens(
        logits,
        tokens[1 : num_windows * context_length + 1],
        num_bytes=1,
        context_length=context_length,
        first_id=int(tokens[0]),
        device=torch.device("cpu"),
    )
    return score.nats_per_token


def report(rows: dict[str, list[Run]], rates: dict[str, list[float]]) -> None:
    """Print means over seeds and the ratios."""
    print("| | nats per character | wall s | s to its best | tokens/s |\n|---|---|---|---|---|")
    for name, runs in rows.items() if rows["Nextword"] else ():
        print(
            f"| {name} | {mean(run.loss for run in runs):.4f} "
            f"({', '.join(f'{run.loss:.4f}' for run in runs)}) "
            f"| {mean(run.wall_seconds for run in runs):.1f} "
            f"| {mean(run.seconds_to_best for run in runs):.1f} "
            f"| {mean(run.tokens_per_second for run in runs):,.0f} |"
        )
    for name, values in rates.items() if rates["nanoGPT"] else ():
        ratios = [ours / theirs for ours, theirs in zip(values, rates["nanoGPT"], strict=True)]
        print(
            f"equal shape and batch, {name}: median {statistics.median(values):,.0f} tokens/s, "
            f"{statistics.median(ratios):.2f} times nanoGPT's in the same minute "
            f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
        )


def mean(values: object) -> float:
    return statistics.fmean(values)  # pyright: ignore[reportArgumentType]


def vars_of(run: Run) -> dict[str, float]:
    return {name: getattr(run, name) for name in Run.__dataclass_fields__}


if __name__ == "__main__":
    main()
