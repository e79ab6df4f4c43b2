"""What a step of the CPU kernels takes, alone: no scheduler, no drawing, no front.

    python benchmarks/cpu_kernels.py [--shape S] [--dtype bf16] [--rows 1,16,64] [--prompt 512]
        [--context 96]

Weights are random. Of each kind of step the median of some repetitions is told, with what it means:
the memory read per second (the weights, once a step) and the arithmetic done (two operations for
each weight and row), beside what the same threads reach in PyTorch's own f32 product. Compare on a
quiet machine, in turns: the first column tells how busy it was.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

# The script is run by its path; the packages stand beside its folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.config import ModelConfig
from model.transformer import Transformer
from service.engine.cpu.cpu_executor import BLOCK_TOKENS, CpuExecutor
from service.engine.cpu.packed_network import NumberType, PackedNetwork
from service.engine.executor import ChunkInput, LogitsWanted

SECONDS_PER_STEP = 2.0
MIN_REPETITIONS = 5
NUM_POSITIONS = 4096
PRODUCT_SIZE = 1536


@dataclass(frozen=True, slots=True)
class _Shape:
    """Width, layers, heads, key-value heads, inner width, vocabulary."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int


SHAPES = {
    "S": _Shape(384, 6, 6, 6, 1024, 8_192),
    "M": _Shape(768, 12, 12, 12, 2048, 32_000),
    "L": _Shape(1280, 24, 20, 4, 3456, 32_000),
}
DTYPES = {"f32": NumberType.F32, "bf16": NumberType.BF16, "int8": NumberType.INT8}
BYTES_PER_WEIGHT = {"f32": 4.0, "bf16": 2.0, "int8": 1.0625}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=SHAPES, default="S")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--rows", default="1,4,16,64", help="sequences with one new token each")
    parser.add_argument("--prompt", default="512", help="tokens of a prompt in one step")
    parser.add_argument("--context", type=int, default=96, help="tokens before each new one")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args(arguments)
    rows, prompts = (
        [int(number) for number in text.split(",") if number]
        for text in (options.rows, options.prompt)
    )
    blocks_per_row = options.context // BLOCK_TOKENS + 1
    config, executor = _executor(
        SHAPES[options.shape],
        options.dtype,
        options.threads,
        num_blocks=max(max(rows) * blocks_per_row, NUM_POSITIONS // BLOCK_TOKENS),
    )
    weights = config.num_parameters
    print(
        f"{options.shape} {options.dtype}, {weights / 1e6:.1f} M weights, "
        f"{executor.network.isa}, {options.threads} threads on {platform.machine()}; "
        f"PyTorch's product: {_product_rate(options.threads):.0f} GFLOP/s"
    )
    bytes_read = weights * BYTES_PER_WEIGHT[options.dtype]
    for count in rows:
        seconds = _median_seconds(_decoding(executor, count, options.context))
        print(
            f"load {os.getloadavg()[0]:4.1f}  {count:4d} rows    {count / seconds:9.0f} tokens/s  "
            f"{seconds * 1e3:8.2f} ms  {bytes_read / seconds / 1e9:5.1f} GB/s  "
            f"{2 * weights * count / seconds / 1e9:6.0f} GFLOP/s"
        )
    # The output matrix is needed once for a prompt, an embedding never.
    inner = weights - config.vocab_size * config.hidden_size
    for count in prompts:
        seconds = _median_seconds(_prefill(executor, count))
        print(
            f"load {os.getloadavg()[0]:4.1f}  {count:4d} prompt  {count / seconds:9.0f} tokens/s  "
            f"{seconds * 1e3:8.2f} ms              {2 * inner * count / seconds / 1e9:6.0f} GFLOP/s"
        )
    return 0


def _executor(
    shape: _Shape, dtype: str, num_threads: int, *, num_blocks: int
) -> tuple[ModelConfig, CpuExecutor]:
    config = ModelConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.width // shape.heads,
        max_position_embeddings=NUM_POSITIONS,
    )
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(0))
    network = PackedNetwork(
        config,
        weight_type=DTYPES[dtype],
        tables_PD=(model.cos_PD, model.sin_PD),
        num_threads=num_threads,
    )
    for name, tensor in model.state_dict().items():
        network.load(name, tensor)
    network.check()
    executor = CpuExecutor(
        network,
        num_blocks=num_blocks,
        cache_type=NumberType.F32 if dtype == "f32" else NumberType.BF16,
    )
    # Memory that nobody has written to is read from one page, which stays in the processor's cache.
    executor.clear_blocks(range(num_blocks))
    return config, executor


def _decoding(executor: CpuExecutor, count: int, context: int) -> Callable[[], object]:
    size = context // BLOCK_TOKENS + 1
    chunks = [
        ChunkInput(token_ids=[row], start=context, block_ids=range(row * size, (row + 1) * size))
        for row in range(count)
    ]
    return lambda: executor.compute(chunks)


def _prefill(executor: CpuExecutor, count: int) -> Callable[[], object]:
    chunk = ChunkInput(
        token_ids=[token % 256 for token in range(count)],
        start=0,
        block_ids=range(-(-count // BLOCK_TOKENS)),
        logits=LogitsWanted.LAST,
    )
    return lambda: executor.compute([chunk])


def _median_seconds(step: Callable[[], object]) -> float:
    times: list[float] = []
    step()
    end = time.perf_counter() + SECONDS_PER_STEP
    while len(times) < MIN_REPETITIONS or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _product_rate(num_threads: int) -> float:
    """GFLOP/s of PyTorch's f32 product of two large matrices."""
    torch.set_num_threads(num_threads)
    left, right = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE)
    return 2 * PRODUCT_SIZE**3 / _median_seconds(lambda: left @ right) / 1e9


if __name__ == "__main__":
    sys.exit(main())
