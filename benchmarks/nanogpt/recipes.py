"""What is run of nanoGPT and of ours: its published recipes, and the commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["NANOGPT_CONFIG", "RECIPES", "our_command", "our_environment", "prepare_nanogpt"]

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


def prepare_nanogpt(source: Path, text: Path, work: Path) -> None:
    """Copy nanoGPT beside the text and let it make its token files."""
    shutil.copytree(source, work / "nanogpt", ignore=shutil.ignore_patterns(".git", "out*"))
    data = work / "nanogpt" / "data" / "shakespeare_char"
    shutil.copyfile(text, data / "input.txt")
    # Its preparation imports requests for a download that the file makes unnecessary.
    (data / "requests.py").write_text("")
    subprocess.run([sys.executable, "prepare.py"], cwd=data, check=True, capture_output=True)


def our_command(text: Path, out: Path, recipe: str, seed: int, settings: list[str]) -> list[str]:
    assignments = [part for setting in settings for part in ("--set", setting)]
    device = "cuda" if recipe == "gpu" else "cpu"
    return [
        *(sys.executable, "-m", "training", "--corpus", str(text.resolve()), "--out", str(out)),
        *("--config", str(HERE / f"ours-{recipe}.toml"), "--preset", "small"),
        *("--seed", str(seed), "--device", device, *assignments),
    ]


def our_environment() -> dict[str, str]:
    root = str(HERE.parents[1])
    return {**os.environ, "PYTHONPATH": root + os.pathsep + os.environ.get("PYTHONPATH", "")}
