"""Tokens/s of nanoGPT and of Nextword at nanoGPT's own shape and batch, in turns.

    python benchmarks/nanogpt/equal_shape.py --nanogpt DIR --text input.txt --recipe cpu

DIR is a checkout of karpathy/nanoGPT, TEXT its Shakespeare file. Each rate is that of the whole
training step as the trainer itself logs it, the reading of batches included.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from recipes import NANOGPT_CONFIG, RECIPES, our_command, our_environment, prepare_nanogpt
from turns import Trainer, take_turns


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and print the ratios; the raw rates go to ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--recipe", choices=sorted(RECIPES), required=True)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare_nanogpt(options.nanogpt, options.text, work)
        trainers = {
            "nanoGPT": nanogpt_trainer(work, options.recipe),
            "AdamW": our_trainer(work, options.text, options.recipe, "adamw"),
            "Muon": our_trainer(work, options.text, options.recipe, "muon"),
        }
        rates = take_turns(trainers, num_turns=options.turns)
    for name, values in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(values, rates["nanoGPT"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name}: median {statistics.median(values):,.0f} tokens/s; "
            f"{middle:.2f} times nanoGPT's of the turn beside it (half of {len(ratios)} turns lie "
            f"between {low:.2f} and {high:.2f})"
        )
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1) + "\n")


def nanogpt_trainer(work: Path, recipe: str) -> Trainer:
    """NanoGPT's own script with its recipe, for as long as it is let."""
    flags, context_length = RECIPES[recipe]
    endless = ("--max_iters=1000000", "--eval_interval=1000000", "--log_interval=1")
    tokens = (64 if recipe == "gpu" else 12) * context_length

    def rates(log: str) -> list[float]:
        return [
            1000.0 * tokens / float(ms) for ms in re.findall(r"iter \d+: .*time ([\d.]+)ms", log)
        ]

    return Trainer(
        command=(sys.executable, "-u", "train.py", NANOGPT_CONFIG, *flags, *endless),
        folder=work / "nanogpt",
        environment=os.environ,
        log=work / "nanogpt.log",
        writes_output=True,
        rates=rates,
    )


def our_trainer(work: Path, text: Path, recipe: str, optimizer: str) -> Trainer:
    """Ours at nanoGPT's shape and batch, for as long as it is let."""
    out = work / f"equal-{optimizer}" / "shakespeare"
    batch_tokens = (64 if recipe == "gpu" else 12) * RECIPES[recipe][1]
    settings = [
        f"schedule.batch_tokens={batch_tokens}",
        "schedule.steps=1000000",
        "schedule.evaluations=1",
        "run.compile=on",
        f"optimizer.name={optimizer}",
        *(["model.dropout=0.2"] if recipe == "gpu" else []),
    ]

    def rates(log: str) -> list[float]:
        # Neither the first nor the last line of a piece need be whole.
        return [float(rate) for rate in re.findall(r'"tokens_per_second": ?([\d.]+)', log)]

    return Trainer(
        command=our_command(text, out, recipe, 1, settings),
        folder=work,
        environment=our_environment(),
        log=out / "run" / "log.jsonl",
        writes_output=False,
        rates=rates,
    )


if __name__ == "__main__":
    main()
