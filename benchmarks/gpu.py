"""Check and measure everything that a GPU computes, in one go of less than ten minutes.

    python benchmarks/gpu.py --out result.json [--skip-training] [--skip-rival]

First the tests that need a GPU, then the machine's own limits, then serving and training; the
results go to the screen as they come and to ``--out`` as JSON. Run it from the repository's root.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_models import SHAPES, random_model
from gpu_rates import copy_rate, matrix_rate, server_with, stream_rate
from gpu_rival import rival_rate
from gpu_training import collectives, training_rate

CHECKS = (
    "tests/service/test_graph_executor.py",
    "tests/service/test_gpu_kernels.py",
    "tests/training/test_checkpoint.py",
)
NUM_STREAMS = {"6.7 B": (1, 8, 64)}
OTHERS_STREAMS = (1, 8, 64, 256)
PROMPT_TOKENS, NEW_TOKENS = 32, 448


def main() -> int:
    """Run all parts; the exit status says whether the checks passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default=",".join(SHAPES))
    parser.add_argument("--skip-checks", action="store_true")
    parser.add_argument("--skip-training", action="store_true")
    parser.add_argument("--skip-rival", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    results: dict[str, object] = {}

    def note(name: str, measure: Callable[[], object]) -> object:
        started = time.monotonic()
        results[name] = found = measure()
        print(f"{name}: {json.dumps(found)} ({time.monotonic() - started:.1f} s)", flush=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
        return found

    has_passed = options.skip_checks or bool(note("checks passed", check))
    note("machine", machine)
    copy, matrix = copy_rate(), matrix_rate()
    note("copy, bytes/s", lambda: copy)
    note("bf16 matrix product of 8,192, FLOP/s", lambda: matrix)
    for name in options.models.split(","):
        note(f"serving {name}", lambda name=name: serving(name, copy, matrix))
    if not options.skip_rival:
        note("transformers' continuous batching, 1.1 B, 128 requests", rival_rate)
    if not options.skip_training:
        note("NCCL, one process", collectives)
        note("training 110 M", lambda: training_rate(matrix))
    print(f"all: {time.monotonic() - began:.0f} s")
    return 0 if has_passed else 1


def check() -> bool:
    """Run the tests that only a GPU can run."""
    command = [sys.executable, "-m", "pytest", "-q", *CHECKS, "-k", "gpu or real or kernel"]
    return subprocess.run(command, check=False).returncode == 0


def machine() -> dict[str, str]:
    """What it ran on."""
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "CUDA": str(torch.version.cuda),
        "Python": platform.python_version(),
    }


def serving(name: str, copy: float, matrix: float) -> dict[str, object]:
    """Rates of one shape through the engine: streams, first token, prompt."""
    model = random_model(name)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    embedding = model.model.embed_tokens.weight
    read = weights - embedding.numel() * embedding.element_size()
    started = time.monotonic()
    counts = NUM_STREAMS.get(name, OTHERS_STREAMS)
    server = server_with(model, max_running=max(counts), context_tokens=2048 + 64)
    found: dict[str, object] = {
        "seconds to load": time.monotonic() - started,
        "limit of one stream, tokens/s": copy / read,
    }
    for num_streams in counts:
        for _ in range(2):
            stream_rate(server, num_streams, prompt_tokens=PROMPT_TOKENS, new_tokens=24)
        runs = [
            stream_rate(server, num_streams, prompt_tokens=PROMPT_TOKENS, new_tokens=NEW_TOKENS)
            for _ in range(3)
        ]
        steady, whole, first = sorted(runs)[1]
        found[f"{num_streams} streams, tokens/s: steady, from first to last token"] = [
            steady,
            whole,
        ]
        if num_streams == 1:
            found["share of the limit"] = steady * read / copy
            found["first token, s"] = first
    for tokens in (512, 2048):
        times = [stream_rate(server, 1, prompt_tokens=tokens, new_tokens=1)[2] for _ in range(7)]
        seconds = sorted(times)[3]
        layers = sum(p.numel() for p in model.model.layers.parameters())
        found[f"first token of {tokens}, s"] = seconds
        found[f"share of the matrix rate, {tokens}"] = 2 * tokens * layers / seconds / matrix
    return found


if __name__ == "__main__":
    sys.exit(main())
