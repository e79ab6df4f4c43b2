"""What a step costs the engine process besides the network, and whether that grows evenly.

    python benchmarks/engine_steps.py [--vocabulary 8192 32000] [--rows 1 8 64 256] [--torch]

An executor that costs nothing hands out the same logits again and again; everything else is real:
the loop of the engine process, scheduler, sampler, frames, the socket. Medians in microseconds a
step, for each way of choosing tokens; then the step of 8 streams with requests waiting behind them.
With --torch tokens are drawn by PyTorch's operations, as where there is no compiler.
"""

import argparse
import socket
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

# The script is run by its path; the campaigns stand beside its folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaigns.broken_builds.sampler_in_torch import draw_only_in_torch
from service.engine.engine import Engine
from service.engine.executor import ChunkInput, ComputedStep, LogitsWanted
from service.engine.frames import encode_frame
from service.engine.messages import Submit
from service.engine_link.engine_channel import Channel
from service.engine_process import EngineLoop

WAYS: Mapping[str, Mapping[str, object]] = {
    "greedy": {"temperature": 0.0},
    "temperature": {"temperature": 0.8},
    "top_k 50": {"temperature": 0.8, "top_k": 50},
    "top_p 0.9": {"temperature": 0.8, "top_p": 0.9},
    "both": {"temperature": 0.8, "top_k": 50, "top_p": 0.9},
    "min_p 0.05": {"temperature": 0.8, "min_p": 0.05},
    "repetition": {"temperature": 0.8, "top_k": 50, "repetition_penalty": 1.2},
    "logprobs 5": {"temperature": 0.8, "top_k": 50, "logprobs": 5},
}
QUEUES = (0, 1000, 10_000, 100_000)
MAX_TOKENS = 2000


class FreeExecutor:
    """Logits that are there already."""

    name = "free"
    network = None
    is_deterministic = True
    has_fixed_steps = True
    kv_cache_bytes = 0
    block_tokens = 16

    def __init__(self, *, num_rows: int, vocabulary: int) -> None:
        self.num_blocks = num_rows * (MAX_TOKENS // self.block_tokens + 2)
        generator = torch.Generator().manual_seed(1)
        self._logits_RV = 2.0 * torch.randn(num_rows, vocabulary, generator=generator)

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """The same for every step."""
        rows = [slice(place, place + 1) for place in range(len(chunks))]
        assert all(chunk.logits is LogitsWanted.LAST for chunk in chunks)
        return ComputedStep(logits_RV=self._logits_RV[: len(chunks)], rows=rows, inspected={})

    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        """There is nothing to forget."""


def step_microseconds(
    way: Mapping[str, object],
    *,
    num_rows: int,
    vocabulary: int,
    num_waiting: int = 0,
    num_steps: int,
) -> float:
    """Median of a turn of the engine process's loop."""
    front, engines = socket.socketpair()
    with front, engines:
        executor = FreeExecutor(num_rows=num_rows, vocabulary=vocabulary)
        engine = Engine(executor, max_running=num_rows)
        loop = EngineLoop([engine], Channel(engines))
        for number in range(num_rows + num_waiting):
            values = {"request_id": number, "prompt_ids": [1 + number % 7], "seed": number, **way}
            engine.submit(
                Submit(
                    max_tokens=MAX_TOKENS,
                    timeout_seconds=1000.0,
                    **values,  # pyright: ignore[reportArgumentType]
                )
            )
        front.setblocking(False)
        seconds: list[float] = []
        for number in range(num_steps + 10):
            if number == num_steps // 2:
                # Messages arrive as well.
                front.send(encode_frame(Submit(request_id=10**9, prompt_ids=[1], max_tokens=1)))
            began = time.perf_counter()
            loop.work()
            seconds.append(time.perf_counter() - began)
            with suppress(BlockingIOError):
                while front.recv(1 << 20):
                    pass
        return 1e6 * statistics.median(seconds[10:])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[8192, 32_000])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--torch", action="store_true", help="draw in torch")
    parser.add_argument("--no-queues", action="store_true", help="measure no waiting requests")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.torch:
        draw_only_in_torch()
    print("| vocabulary | rows | " + " | ".join(WAYS) + " |")
    print("| --- " * (2 + len(WAYS)) + "|")
    for vocabulary in arguments.vocabulary:
        for num_rows in arguments.rows:
            num_steps = 200 if num_rows < 16 else 40
            cells = [
                step_microseconds(
                    way, num_rows=num_rows, vocabulary=vocabulary, num_steps=num_steps
                )
                for way in WAYS.values()
            ]
            numbers = " | ".join(f"{each:,.0f}" for each in cells)
            print(f"| {vocabulary:,} | {num_rows} | {numbers} |", flush=True)
    for num_waiting in () if arguments.no_queues else QUEUES:
        took = step_microseconds(
            WAYS["greedy"], num_rows=8, vocabulary=8192, num_waiting=num_waiting, num_steps=100
        )
        print(f"8 greedy streams, {num_waiting:,} requests waiting: {took:,.0f} a step", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
