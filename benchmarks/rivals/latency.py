"""Waiting, beside llama.cpp's server: a long prompt's first token, and what it does to others.

    python benchmarks/rivals/latency.py --llama-server FILE --models FOLDER

First the time to the first token of a prompt of 512 tokens with nothing else running. Then the time
between tokens of eight running streams while prompts of 512 tokens arrive one after another; beside
it the same eight streams alone. Contestants take turns; medians over the rounds.
"""

import argparse
import statistics
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

# The script is run by its path; benchmarks stands beside nothing that is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.rivals.contestants import Contestant, Level, LlamaServer, Ours, Sample
from benchmarks.rivals.random_models import SHAPES
from benchmarks.rivals.results import processor_name

NUM_STREAMS = 8
LONG_PROMPT_TOKENS = 512
CONTEXT_TOKENS = 640
STREAM_TOKENS = 384


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--llama-server", type=Path, required=True, help="llama.cpp's program")
    parser.add_argument("--models", type=Path, required=True, help="the folder of the weights")
    parser.add_argument("--only", default="S,M", help="of S, M and L")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    print(processor_name())
    for model in options.only.split(","):
        contestants = (
            Ours(options.models / f"{model}-bf16", dtype="bf16", context_tokens=CONTEXT_TOKENS),
            LlamaServer(
                options.llama_server,
                options.models / f"{model}-bf16.gguf",
                streams=NUM_STREAMS + 1,
                context_tokens=CONTEXT_TOKENS,
            ),
        )
        try:
            _table(model, contestants, options.rounds)
        finally:
            for contestant in contestants:
                contestant.close()


def _table(model: str, contestants: Sequence[Contestant], rounds: int) -> None:
    size = SHAPES[model].vocabulary_size
    long = Level(
        streams=1,
        requests=8,
        prompt_tokens=LONG_PROMPT_TOKENS,
        max_tokens=2,
        vocabulary_size=size,
    )
    running = Level(
        streams=NUM_STREAMS,
        requests=NUM_STREAMS,
        prompt_tokens=32,
        max_tokens=STREAM_TOKENS,
        vocabulary_size=size,
    )
    figures: dict[str, Callable[[Contestant, int], float]] = {
        "first token of 512, idle, p50": lambda contestant, seed: _seconds(
            contestant.measure(replace(long, seed=seed)).first_token_p50
        ),
        "between tokens of 8 alone, p99": lambda contestant, seed: _seconds(
            contestant.measure(replace(running, seed=seed)).between_p99
        ),
        "the same while prompts of 512 arrive, p99": lambda contestant, seed: _seconds(
            _disturbed(contestant, replace(running, seed=seed), long).between_p99
        ),
    }
    for name, read in figures.items():
        values = [
            {contestant.name: read(contestant, number + 1) for contestant in contestants}
            for number in range(rounds)
        ]
        ours, theirs = (contestant.name for contestant in contestants)
        print(
            f"{model}, {name}: {ours} {statistics.median(v[ours] for v in values) * 1e3:.1f} ms, "
            f"{theirs} {statistics.median(v[theirs] for v in values) * 1e3:.1f} ms, ratio "
            f"{statistics.median(v[ours] / v[theirs] for v in values):.2f}",
            flush=True,
        )


def _disturbed(contestant: Contestant, running: Level, long: Level) -> Sample:
    """The running streams' sample, while long prompts come one after another to their end."""
    is_over = threading.Event()
    num_arrived: list[int] = []

    def arrive() -> None:
        while not is_over.is_set():
            seed = 1000 * running.seed + len(num_arrived)
            contestant.measure(replace(long, seed=seed, requests=4))
            num_arrived.append(seed)

    arriving = threading.Thread(target=arrive)
    arriving.start()
    try:
        return contestant.measure(running)
    finally:
        is_over.set()
        arriving.join()
        print(f"  ({contestant.name}: {4 * len(num_arrived)} prompts arrived)", flush=True)


def _seconds(value: float | None) -> float:
    if value is None:
        raise RuntimeError("too few tokens to tell")
    return value


if __name__ == "__main__":
    main()
