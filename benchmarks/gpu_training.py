"""The training step at 110 M parameters, and whether NCCL's collectives run."""

import statistics
import tempfile
import time

import numpy as np
import torch
import torch.distributed as distributed

from model.config import ModelConfig
from model.transformer import Transformer
from training.computation import Computation
from training.config import OptimizerSettings
from training.hardware import Hardware
from training.optimizer import Optimizer
from training.parallel import Processes

__all__ = ["collectives", "training_rate"]

CONTEXT, BATCH, MICRO_BATCH = 1024, 64, 32
NUM_STEPS, NUM_GROUPS = 5, 4


def training_rate(matrix_rate: float) -> dict[str, object]:
    """Tokens per second of whole updates, and their share of the matrix rate.

    The operations are counted by hand: six for each weight of a matrix that a token meets, and
    those of causal attention, half of the square.
    """
    config = ModelConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        head_dim=64,
        max_position_embeddings=CONTEXT,
    )
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(1))
    model.cuda()
    announced: list[str] = []
    hardware = Hardware(
        device="cuda", dtype="bf16", is_compiled=True, num_threads=1, flops_per_second=matrix_rate
    )
    computation = Computation(
        model,
        hardware=hardware,
        processes=Processes(),
        micro_batch_size=MICRO_BATCH,
        announce=announced.append,
    )
    optimizer = Optimizer(model, OptimizerSettings())
    random = np.random.default_rng(1)

    def update(seed: int) -> float:
        windows = random.integers(0, config.vocab_size, (BATCH, CONTEXT + 1))
        loss, _ = computation.gradients(windows, seed=seed, wants_stop=False)
        optimizer.take_gradients(clip=1.0)
        optimizer.step(rate_scale=0.1)
        return float(loss) if seed % NUM_STEPS == 0 else 0.0

    started = time.perf_counter()
    first_loss = update(0)
    first_seconds = time.perf_counter() - started
    update(1)
    torch.cuda.synchronize()
    rates: list[float] = []
    seed = last_loss = 0
    for _ in range(NUM_GROUPS):
        began = time.perf_counter()
        for _ in range(NUM_STEPS):
            seed += 1
            last_loss = update(seed) or last_loss
        torch.cuda.synchronize()
        rates.append(NUM_STEPS * BATCH * CONTEXT / (time.perf_counter() - began))
    tokens_per_second = statistics.median(rates)
    in_matrices = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    attention = 12 * config.num_hidden_layers * config.hidden_size * CONTEXT / 2
    return {
        "parameters": config.num_parameters,
        "tokens/s": tokens_per_second,
        "share of the matrix rate": tokens_per_second * (6 * in_matrices + attention) / matrix_rate,
        "first step with compiling, s": first_seconds,
        "first and last loss": [first_loss, last_loss],
        "peak memory, bytes": torch.cuda.max_memory_allocated(),
        "announced": announced,
    }


def collectives() -> str:
    """Run what several processes would, in one: NCCL refuses two processes on one GPU."""
    with tempfile.TemporaryDirectory() as folder:
        store = distributed.FileStore(f"{folder}/store", 1)
        distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
        try:
            tensors = [torch.full((3, 5), 4.0, device="cuda"), torch.ones(7, device="cuda")]
            # A mean over two, of which one is there: half of the sum.
            processes = Processes(count=2, local_count=2)
            processes.average(tensors)
            processes.wait()
            agreed = processes.agree(7.0, device=torch.device("cuda"))
            assert [float(tensor.sum()) for tensor in tensors] == [30.0, 3.5]
            assert agreed == 7.0
        finally:
            distributed.destroy_process_group()
    return "all-reduce, broadcast and barrier ran"
