"""Train nanoGPT and Nextword on the same text, one after the other, and score both alike.

    python benchmarks/nanogpt/compare.py --nanogpt DIR --text input.txt --recipe cpu --seeds 3

DIR is a checkout of karpathy/nanoGPT, TEXT its Shakespeare file; nothing of either is kept. Each
seed runs nanoGPT's published recipe and then ours, as processes of their own, from nothing to the
best model on disk: starting, compiling and evaluating count. Both best models are scored here on
the same windows: the whole held-out tenth, side by side, at the recipe's context length.
"""

import argparse
import json
import re
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
from recipes import NANOGPT_CONFIG, RECIPES, our_command, our_environment, prepare_nanogpt

from model.tokenizer import Tokenizer
from model.weights import load_transformer
from training.evaluate import score_tokens


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
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows: dict[str, list[Run]] = {"nanoGPT": [], "Nextword": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare_nanogpt(options.nanogpt, options.text, work)
        for seed in range(1, options.seeds + 1):
            rows["nanoGPT"].append(run_nanogpt(work, options.recipe, seed, options.max_iters))
            rows["Nextword"].append(run_ours(work, options.text, options.recipe, seed))
            for name, runs in rows.items():
                print(name, runs[-1], flush=True)
    report(rows)
    if options.json:
        raw = {name: [vars_of(run) for run in runs] for name, runs in rows.items()}
        options.json.write_text(json.dumps(raw, indent=1) + "\n")


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
    command = our_command(text, out, recipe, seed, [])
    subprocess.run(command, check=True, env=our_environment(), stdout=subprocess.DEVNULL)
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


def report(rows: dict[str, list[Run]]) -> None:
    """Print the means over the seeds."""
    print("| | nats per character | wall s | s to its best | tokens/s |\n|---|---|---|---|---|")
    for name, runs in rows.items():
        print(
            f"| {name} | {mean(run.loss for run in runs):.4f} "
            f"({', '.join(f'{run.loss:.4f}' for run in runs)}) "
            f"| {mean(run.wall_seconds for run in runs):.1f} "
            f"| {mean(run.seconds_to_best for run in runs):.1f} "
            f"| {mean(run.tokens_per_second for run in runs):,.0f} |"
        )


def mean(values: object) -> float:
    return statistics.fmean(values)  # pyright: ignore[reportArgumentType]


def vars_of(run: Run) -> dict[str, float]:
    return {name: getattr(run, name) for name in Run.__dataclass_fields__}


if __name__ == "__main__":
    main()
