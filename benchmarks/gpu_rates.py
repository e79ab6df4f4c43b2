"""Rates of the machine and of an engine on it, by the clock of the host."""

import itertools
import statistics
import time
from collections.abc import Callable

import torch

from model.transformer import Transformer
from service.engine.cuda import triton_kernels
from service.engine.cuda.recorded_step import cuda_graph_recorder
from service.engine.engine import Engine
from service.engine.graph_executor import GraphExecutor
from service.engine.messages import EngineFinish, Submit

__all__ = ["copy_rate", "matrix_rate", "server_with", "stream_rate"]

_request_ids = itertools.count(1)


def copy_rate() -> float:
    """Bytes per second that a copy of 4 GiB on the device reads and writes."""
    source = torch.empty(2**32, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / _seconds(lambda: target.copy_(source))


def matrix_rate() -> float:
    """FLOP per second of a bf16 product of random matrices of 8,192."""
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in "ab")
    return 2 * 8192**3 / _seconds(lambda: left @ right)


def server_with(model: Transformer, *, max_running: int, context_tokens: int) -> Engine:
    """An engine over the executor for GPUs, with a cache of 512 tokens a stream."""
    executor = GraphExecutor(
        model,
        num_blocks=max(max_running * 512, 2 * context_tokens) // 16,
        max_rows=max_running,
        context_tokens=context_tokens,
        kernels=triton_kernels,
        recorder=cuda_graph_recorder(),
    )
    return Engine(executor, max_running=max_running)


def stream_rate(
    engine: Engine, num_streams: int, *, prompt_tokens: int, new_tokens: int
) -> tuple[float, float, float]:
    """Draw texts of one length at temperature 0.8 and top-k 50, all asked for at once.

    Returns:
        Tokens per second from when all streams have begun until the first ends; the same from the
        first request to the last token; and the seconds to the first token of all.
    """
    for _ in range(num_streams):
        number = next(_request_ids)
        engine.submit(
            Submit(
                request_id=number,
                prompt_ids=[(number * 7919 + place * 31) % 8000 for place in range(prompt_tokens)],
                max_tokens=new_tokens,
                temperature=0.8,
                top_k=50,
                seed=number,
            )
        )
    began = time.perf_counter()
    seen: set[int] = set()
    num_tokens = num_before = num_steady = 0
    first_at = all_began_at = first_end_at = began
    has_ended = False
    while engine.has_work:
        for output in engine.step().outputs:
            num_tokens += len(output.token_ids)
            seen.add(output.request_id)
            assert output.finish in (None, EngineFinish.LENGTH)
            has_ended = has_ended or output.finish is not None
        now = time.perf_counter()
        if seen and first_at == began:
            first_at = now
        if len(seen) == num_streams and all_began_at == began:
            all_began_at, num_before = now, num_tokens
        if not has_ended:
            first_end_at, num_steady = now, num_tokens - num_before
    ended_at = time.perf_counter()
    assert num_tokens == num_streams * new_tokens
    steady_seconds = first_end_at - all_began_at
    steady = num_steady / steady_seconds if steady_seconds > 0 and num_steady > 0 else 0.0
    return steady, num_tokens / (ended_at - began), first_at - began


def _seconds(run: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(8):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times)
